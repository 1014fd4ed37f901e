"""The machine that figures are of: its processor, what else decides them, and keeping a script on one core of it."""

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import cv2

from siamedge.runtime.backends.backend import BACKENDS, get_backend
from siamedge.runtime.backends.processor import CPUINFO, cpu_features, processor_name
from siamedge.runtime.speed.tuning_record import fingerprint

UNITS = {"AVX-512": "avx512", "VNNI": "vnni", "AMX": "amx"}
"""What multiplies fast on x86-64, and its name among cpu_features."""


def processor() -> str:
    """Its name, and on x86-64 which of UNITS it has."""
    name = processor_name()
    if platform.machine() != "x86_64" or not CPUINFO.exists():
        return name
    features = cpu_features(CPUINFO.read_text())
    return f"{name} ({', '.join(unit for unit, feature in UNITS.items() if feature in features) or 'no AVX-512'})"


def conditions() -> dict[str, str]:
    """What a figure depends on: day, processor, system and the versions of the libraries."""
    return {
        **fingerprint(),
        "processor": processor(),
        "opencv": cv2.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def pin(core: int) -> None:
    """Keep this process on one core, and OpenCV on one thread."""
    os.sched_setaffinity(0, {core})
    cv2.setNumThreads(1)


def not_installed() -> str:
    """Which backends a table lacks because they cannot be used here, in a sentence; empty if none."""
    reasons = {name: get_backend(name).unavailable("CPU") for name in BACKENDS}
    missing = [f"{name} ({reason})" for name, reason in reasons.items() if reason is not None]
    return f"Not measured: {', '.join(missing)}." if missing else ""


def memory_and_descriptors(pid: int) -> tuple[float, int]:
    """Resident memory of a process in MiB, and its open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))
