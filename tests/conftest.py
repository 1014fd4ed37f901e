"""Fixtures that several tests need."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # these networks are too small for more; waiting threads would spin
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def default_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default model, exported to ONNX fp32: what `siamedge export` gives first. Do not change it."""
    from siamedge.export.pipeline import ExportRequest, export_bundle

    out = tmp_path_factory.mktemp("default") / "default.siamedge"
    export_bundle(ExportRequest(out, formats=("onnx",), precisions=("fp32",)))
    return out


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test tunes or compiles out of the user's cache, and the user's tuning out of the test."""
    monkeypatch.setenv("SIAMEDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
