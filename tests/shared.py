"""Where the shared material lies, for the tests that need it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SIAMEDGE_SHARED", ROOT.parent / "shared"))


def shared_path(relative: str) -> Path:
    """Give a path below the shared folder, or skip the test."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the shared material (set SIAMEDGE_SHARED)")
    return path
