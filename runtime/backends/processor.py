"""What Linux tells of the processor."""

import hashlib
import re
from pathlib import Path

SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18
"""Numbers of x86-64 Linux (its Documentation/arch/x86/xstate.rst)."""
CPUINFO = Path("/proc/cpuinfo")
CPUINFO_BYTES = 16384
"""Of it are enough for the first core."""
CPU_KEYS = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
)  # fmt: skip
"""Lines that do not change while a machine runs, on x86-64 and ARM."""
CPU_FEATURES = {
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx512_vnni": "vnni",
    "avx_vnni": "vnni",
    "avx512_bf16": "bf16",
    "avx512_fp16": "fp16",
    "amx_int8": "amx",
}
"""Flags on ARM and x86-64, and what they are called here."""


def cpu_signature(cpuinfo: Path = CPUINFO) -> str:
    """The processor as Linux describes its first core: name, model and instructions; elsewhere its name alone."""
    import platform

    text = read_cpuinfo(cpuinfo)
    if not text:
        return f"{platform.machine()} {platform.processor()}"
    pairs = (line.partition(":") for line in text.splitlines())
    kept = [f"{key.strip()} {value.strip()}" for key, _, value in pairs if key.strip() in CPU_KEYS]
    return f"{platform.machine()} {hashlib.sha256(';'.join(kept).encode()).hexdigest()[:16]}"


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """Of dotprod, fp16, i8mm, bf16, sve, avx2, avx512, vnni, amx, those that the text of /proc/cpuinfo names."""
    found = re.search(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = found[1].split() if found else []
    return frozenset(CPU_FEATURES[flag] for flag in flags if flag in CPU_FEATURES)


def has_amx(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor multiplies tiles of int8 (Intel's servers since 2023), and Linux lets this process do so.

    A library that is refused the registers of the tiles, in a container for instance, computes without them.
    """
    return "amx" in cpu_features(read_cpuinfo(cpuinfo)) and may_use_tiles()


def may_use_tiles() -> bool:
    """Ask Linux for the registers of AMX's tiles, as the libraries do when they load; True if it gives them."""
    import ctypes

    try:
        return int(ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)) == 0
    except (AttributeError, OSError):
        return False


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The processor's name as Linux tells it (x86: model name; ARM: implementer and part); elsewhere Python's."""
    import platform

    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines) if value}
    keys = ("model name", "Model", "Hardware", "CPU implementer", "CPU part")
    return " ".join(pairs[key] for key in keys if key in pairs) or platform.processor()


def read_cpuinfo(cpuinfo: Path) -> str:
    """What it says of the first core; "" where there is none."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as file:
            return file.read(CPUINFO_BYTES).partition("\n\n")[0]
    except OSError:
        return ""
