"""Keeps libraries from reporting over the network what they are used for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

REPORTER = "openvino_telemetry"
"""Installed along with OpenVINO; sends a report from a forked process without asking, unless its import fails."""


@contextmanager
def telemetry_blocked() -> Iterator[None]:
    """Make the import of the reporter fail meanwhile; OpenVINO and NNCF then use their own empty replacement."""
    modules = cast(dict[str, ModuleType | None], sys.modules)
    if REPORTER in modules:
        yield
        return
    modules[REPORTER] = None
    try:
        yield
    finally:
        del modules[REPORTER]
