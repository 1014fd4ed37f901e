"""The processor that figures are of, for the heading of a table."""

import platform

from siamedge.runtime.backends.processor import CPUINFO, cpu_features, processor_name

UNITS = {"AVX-512": "avx512", "VNNI": "vnni", "AMX": "amx"}
"""What multiplies fast on x86-64, and its name among cpu_features."""


def processor() -> str:
    """Its name, and on x86-64 which of UNITS it has."""
    name = processor_name()
    if platform.machine() != "x86_64" or not CPUINFO.exists():
        return name
    features = cpu_features(CPUINFO.read_text())
    return f"{name} ({', '.join(unit for unit, feature in UNITS.items() if feature in features) or 'no AVX-512'})"
