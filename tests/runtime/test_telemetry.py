"""Loading OpenVINO does not load the library that reports its use over the network."""

import subprocess
import sys

import pytest


def test_openvino_is_imported_without_its_reporter() -> None:
    pytest.importorskip("openvino")
    program = (
        "import sys; from siamedge.runtime.backends.openvino_backend import import_openvino; import_openvino(); "
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
