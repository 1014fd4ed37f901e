"""bf16: offered where a processor has it, refused where it would silently be f32."""

from pathlib import Path

import numpy as np
import pytest
from processor import has_bf16

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.openvino_backend import INFERENCE_PRECISION, OpenVINOBackend
from siamedge.runtime.errors import BackendError, ExportError
from siamedge.runtime.tensors import TensorSpec

openvino = pytest.importorskip("openvino")


def product(folder: Path) -> Model:
    """A model that computes y = x @ (1 + 2**-10), of which bf16 keeps the 1."""
    ops = openvino.opset13
    x = ops.parameter([16, 16], np.float32, name="x")
    x.output(0).set_names({"x"})
    y = ops.matmul(x, ops.constant(np.eye(16, dtype=np.float32) * np.float32(1 + 2**-10)), False, False)
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([ops.result(y)], [x], "product"), folder / "m.xml", compress_to_fp16=False)
    specs = (TensorSpec("x", (16, 16), "float32", "NPC"),), (TensorSpec("y", (16, 16), "float32", "NPC"),)
    return Model("product.xml", "bf16", (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes(), *specs)


def test_a_processor_has_it_or_not_as_linux_says() -> None:
    reason = OpenVINOBackend().lacks("bf16", "CPU")
    assert (reason is None) == has_bf16()
    assert reason is None or reason.startswith("CPU has no bf16; OpenVINO sees ")
    assert OpenVINOBackend().lacks("fp32", "CPU") is None


def test_it_computes_with_eight_bits(tmp_path: Path) -> None:
    if not has_bf16():
        pytest.skip("this processor has no bf16")
    session = OpenVINOBackend().load(product(tmp_path), device="CPU", threads=1)
    found = session.run({"x": np.ones((16, 16), np.float32)})["y"]
    np.testing.assert_array_equal(found, np.ones((16, 16), np.float32))


def test_f32_in_its_place_is_refused(tmp_path: Path) -> None:
    backend = OpenVINOBackend({**INFERENCE_PRECISION, "bf16": "f32"})
    with pytest.raises(BackendError) as caught:
        backend.load(product(tmp_path), device="CPU", threads=1)
    assert str(caught.value) == "product.xml: OpenVINO computes in f32 here, bf16 was asked for"


def test_an_export_verifies_it_and_stores_no_second_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("nncf")
    from siamedge.export.pipeline import ExportRequest, export_bundle

    request = ExportRequest(tmp_path / "b.siamedge", formats=("openvino",), precisions=("fp32", "bf16"))
    if not has_bf16():
        with pytest.raises(ExportError, match="bf16 cannot be verified here: CPU has no bf16"):
            export_bundle(request)
        return
    manifest = export_bundle(request).manifest
    files = {a.precision: {entry.path for entry in a.files} for a in manifest.artifacts if a.role == "search"}
    assert files["bf16"] == files["fp32"]
    assert len([entry for entry in manifest.files if entry.path.startswith("models/")]) == 4
    exact, rounded = (v for v in manifest.verification)
    assert (exact.precision, rounded.precision, rounded.verdict) == ("fp32", "bf16", "pass")
    assert exact.differences["cls"].max_abs < rounded.differences["cls"].max_abs
    assert manifest.recommended["openvino"].precision == "fp32"
