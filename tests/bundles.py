"""A small bundle made by hand, for tests that need a whole one but no model that runs."""

from siamedge.export.bundles.packing import entry_of
from siamedge.runtime.bundles.manifest import (
    SCHEMA,
    AnchorFreeTrackerEntry,
    Artifact,
    Difference,
    FileEntry,
    Manifest,
    Provenance,
    Recommendation,
    Verification,
)
from siamedge.runtime.tensors import TensorSpec
from siamedge.runtime.tracking.params import AnchorFreeParams

FILES = {
    "models/onnx-fp32/template.onnx": b"template " * 40,
    "models/onnx-fp32/search.onnx": b"search " * 60,
    "models/openvino-fp16/template.xml": b"<template/>",
    "models/openvino-fp16/template.bin": bytes(range(256)),
    "models/openvino-fp16/search.xml": b"<search/>",
    "models/openvino-fp16/search.bin": bytes(range(255, -1, -1)),
}
PARAMS = AnchorFreeParams(
    template_px=32,
    search_px=64,
    stride=8,
    response_size=8,
    first_cell_px=-28.0,
    score="sigmoid",
    window_influence=0.4,
    penalty_k=0.1,
    lr=0.4,
)
CROP = {
    "template": TensorSpec("template", (1, 32, 32, 3), "uint8", "NHWC"),
    "search": TensorSpec("search", (1, 64, 64, 3), "uint8", "NHWC"),
}
KERNEL = TensorSpec("kernel", (1, 16, 8), "float32", "NPC")
MAPS = (
    TensorSpec("cls", (1, 1, 8, 8), "float32", "NCHW"),
    TensorSpec("log_ltrb", (1, 4, 8, 8), "float32", "NCHW"),
)


def entries(*paths: str) -> tuple[FileEntry, ...]:
    return tuple(entry_of(path, FILES[path]) for path in paths)


def artifacts() -> tuple[Artifact, ...]:
    onnx, openvino = "models/onnx-fp32/", "models/openvino-fp16/"
    return (
        Artifact(
            "template", "onnx", "fp32", entries(onnx + "template.onnx"), (CROP["template"],), (KERNEL,), {"x": ">=1"}
        ),
        Artifact("search", "onnx", "fp32", entries(onnx + "search.onnx"), (CROP["search"], KERNEL), MAPS, {}, "a note"),
        Artifact(
            "template",
            "openvino",
            "fp16",
            entries(openvino + "template.xml", openvino + "template.bin"),
            (CROP["template"],),
            (KERNEL,),
            {},
        ),
        Artifact(
            "search",
            "openvino",
            "fp16",
            entries(openvino + "search.xml", openvino + "search.bin"),
            (CROP["search"], KERNEL),
            MAPS,
            {},
        ),
    )


def make_manifest() -> Manifest:
    found = {"cls": Difference(0.25, 0.5), "log_ltrb": Difference(0.0, 1.0)}
    return Manifest(
        schema=SCHEMA,
        name="tiny",
        tracker=AnchorFreeTrackerEntry("anchor-free", "dart", PARAMS),
        artifacts=artifacts(),
        provenance=Provenance("a.pth", "0" * 64, None, None, {"torch": "2"}),
        verification=(Verification("onnx", "fp32", 3, found, 1.0, 0.125, "pass", "within budget"),),
        recommended={"onnx": Recommendation("fp32", "within budget")},
        license="Apache-2.0",
    )
