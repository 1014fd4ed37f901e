"""A bundle of 170-byte models: doctor's probe as both graphs; opens and runs like any other."""

import base64
import hashlib
from pathlib import Path

from siamedge.devices.diagnosis.probe import ONNX
from siamedge.runtime.bundles.manifest import (
    AnchorFreeTrackerEntry,
    Artifact,
    FileEntry,
    Manifest,
    Provenance,
    Recommendation,
    Role,
)
from siamedge.runtime.bundles.records import to_json
from siamedge.runtime.tensors import TensorSpec
from siamedge.runtime.tracking.params import AnchorFreeParams

PARAMS = AnchorFreeParams(
    template_px=8, search_px=16, stride=8, response_size=2, first_cell_px=-4, score="sigmoid",
    window_influence=0.4, penalty_k=0.1, lr=0.4,
)  # fmt: skip


def tiny_bundle(folder: Path, name: str = "tiny") -> Path:
    """Write NAME.siamedge below a folder; the name is in the manifest, so that different names differ."""
    root = folder / f"{name}.siamedge"
    artifacts = tuple(_artifact(root, role) for role in ("template", "search"))
    manifest = Manifest(
        schema=1,
        name=name,
        tracker=AnchorFreeTrackerEntry("anchor-free", "tiny", PARAMS),
        artifacts=artifacts,
        provenance=Provenance("none", "0" * 64, None, None, {}),
        verification=(),
        recommended={"onnx": Recommendation("fp32", "the only one")},
        license="Apache-2.0",
    )
    (root / "manifest.json").write_text(to_json(manifest), encoding="utf-8")
    return root


def _artifact(root: Path, role: Role) -> Artifact:
    content = base64.b64decode(ONNX)
    path = f"models/onnx-fp32/{role}.onnx"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    entry = FileEntry(path, len(content), hashlib.sha256(content).hexdigest())
    ends = [TensorSpec(name, (1, 4), "float32", "NPC") for name in "xy"]
    return Artifact(role, "onnx", "fp32", (entry,), (ends[0],), (ends[1],), {})
