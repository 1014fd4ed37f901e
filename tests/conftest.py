"""Fixtures that several tests need."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from command_line import Run

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


@pytest.fixture
def siamedge(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Run":
    """Runs the command line in an empty folder."""
    from command_line import Outcome

    from siamedge.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["siamedge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Outcome(int(stop.value.code or 0), *capfd.readouterr())

    return run
