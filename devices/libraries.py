"""The inference libraries as packages: which extra brings each, and the oldest C library that runs it."""

import re
from collections.abc import Mapping
from typing import NamedTuple

OLDEST_PYTHON = (3, 10)
"""Of the device side."""


class Library(NamedTuple):
    """Where a backend's library comes from and what it needs.

    Attributes:
        extra: Of siamedge, for pip.
        package: To import.
        glibc_aarch64: Oldest version with which it loads there (its wheel's tag may promise less).
        glibc_x86_64: The same for x86-64.
    """

    extra: str
    package: str
    glibc_aarch64: tuple[int, int]
    glibc_x86_64: tuple[int, int]

    def glibc(self, machine: str) -> tuple[int, int]:
        """Oldest C library on a machine, as `uname -m` names it."""
        return self.glibc_aarch64 if machine == "aarch64" else self.glibc_x86_64


LIBRARIES: Mapping[str, Library] = {
    "tflite": Library("tflite", "ai_edge_litert", (2, 34), (2, 28)),
    "openvino": Library("openvino", "openvino", (2, 35), (2, 28)),
    "onnxruntime": Library("onnx", "onnxruntime", (2, 28), (2, 28)),
}
"""By backend. aarch64: found by loading ai-edge-litert 2.3, openvino 2026.4; x86-64: by the wheels' symbol versions."""


def explain_import(error: str, glibc: tuple[int, int]) -> tuple[str, str] | None:
    """What a failed import means and what helps, None when it is not one of the known failures.

    Args:
        error: Message of the exception, with its type.
        glibc: Of the device.
    """
    here = f"{glibc[0]}.{glibc[1]}"
    for pattern, meaning, fix in _FAILURES:
        if found := re.search(pattern, error):
            return meaning.format(*found.groups(), glibc=here), fix.format(*found.groups())
    return None


_FAILURES = (
    (
        r"GLIBC_([\d.]+)' not found",
        "it was built for glibc {0}, this device has {glibc}",
        "use another backend, or a newer system release",
    ),
    (
        r"GLIBCXX_([\d.]+)' not found",
        "it needs libstdc++ with GLIBCXX_{0}, which this device lacks",
        "use another backend, or a newer system release",
    ),
    (
        r"_ARRAY_API not found|numpy\.core\.multiarray failed",
        "it was built for numpy 1 and numpy 2 is installed",
        "pip install ai-edge-litert (the successor of tflite-runtime)",
    ),
    (
        r"wrong ELF class|invalid ELF header|cannot open shared object file: Exec format",
        "it was built for another processor",
        "flash again; do not copy site-packages between machines",
    ),
    (
        r"(lib(?:cu|nv)[\w.-]+): cannot open shared object",
        "the CUDA library {0} is not installed",
        "install JetPack's CUDA packages, or use the CPU",
    ),
    (
        r"(lib[\w.+-]+): cannot open shared object",
        "the system library {0} is missing",
        "install the system package that has {0}",
    ),
    (
        r"static TLS block",
        "it was loaded too late for its thread-local memory",
        "import it before cv2, or preload the library that the message names",
    ),
)
