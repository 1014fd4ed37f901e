"""What Linux says of the processor."""

from pathlib import Path

import pytest

CPUINFO = Path("/proc/cpuinfo")


def has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    if not CPUINFO.exists():
        pytest.skip("no /proc/cpuinfo")
    words = CPUINFO.read_text(encoding="utf-8").split()
    return any(flag in words for flag in ("avx512_bf16", "amx_bf16", "bf16"))
