"""What tests of the command line share: how a run ended, and a run in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SCENE = "synthetic:?frames=4&size=320x240"
TINY_EXPORT = ("--formats", "onnx", "--precisions", "fp32", "--calibration", "synthetic:?frames=6&size=128x96")
HEED = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""Has a process heed Ctrl-C and the end of its terminal where the shell (in the background) or nohup ignores them."""


class Outcome(NamedTuple):
    """Exit code and what was printed."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]
"""Runs the command line with some arguments in this process."""


def refused(message: str, hint: str, code: int = 1) -> Outcome:
    """How a run ends that was refused."""
    return Outcome(code, "", f"siamedge: {message}\n  try: {hint}\n")


def script(*arguments: str | Path, before: str = "") -> list[str]:
    """A Python process that runs the command line after some lines of preparation; it heeds what HEED says."""
    lines = f"import sys\nsys.argv = {['siamedge', *map(str, arguments)]!r}\nfrom siamedge.cli.main import main\nmain()"
    return [sys.executable, "-c", f"{HEED}\n{before}\n{lines}"]
