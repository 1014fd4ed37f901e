"""The processor that figures are of, for the heading of a table."""

from pathlib import Path

from siamedge.runtime.speed.tuning_record import processor_name

CPUINFO = Path("/proc/cpuinfo")
UNITS = {"AVX-512": "avx512f", "VNNI": "_vnni", "AMX": "amx_int8"}
"""What multiplies fast on x86-64, and how Linux calls it."""


def processor() -> str:
    """Its name, and on x86-64 which of UNITS it has."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    has = [name for name, flag in UNITS.items() if flag in text]
    is_x86 = "flags" in text
    return f"{processor_name(CPUINFO)} ({', '.join(has) or 'no AVX-512'})" if is_x86 else processor_name(CPUINFO)
