"""A bundle of a network that runs in a millisecond, and running a script in this process."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from shared import ROOT

sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests/evaluation")]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX fp32, not verified well: its weights are random. Do not change it."""
    from safetensors.torch import save_file
    from tiny import CONFIG, make_weights

    from siamedge.export.families.dart import METADATA_KEY
    from siamedge.export.pipeline import ExportRequest, export_bundle

    folder = tmp_path_factory.mktemp("tiny")
    save_file(make_weights().state_dict(), folder / "tiny.safetensors", {METADATA_KEY: CONFIG.to_json()})
    request = ExportRequest(
        folder / "tiny.siamedge",
        checkpoint=folder / "tiny.safetensors",
        formats=("onnx",),
        precisions=("fp32",),
        calibration=("synthetic:?frames=6&size=128x96",),
    )
    export_bundle(request)
    return folder / "tiny.siamedge"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs NAME.py with some arguments, in an empty folder and on whichever core, and gives its stdout."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str | Path) -> str:
        module, shared = import_module(name), import_module("script")
        monkeypatch.setattr(module, "pin", lambda core: None, raising=False)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        shared.run(module.main)
        return capfd.readouterr().out

    return run
