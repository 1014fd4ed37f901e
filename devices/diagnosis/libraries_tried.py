"""What is fine and what is not about the inference libraries and cameras that were tried on a device."""

from collections.abc import Iterator, Sequence

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.diagnosis.findings import Finding
from siamedge.devices.diagnosis.probing import Probe
from siamedge.devices.libraries import LIBRARIES, explain_import


def backend_findings(device: Capabilities, probes: Sequence[Probe]) -> Iterator[Finding]:
    """What the libraries did, and whether anything at all can run a model."""
    backends = [found for found in probes if found.backend != "cameras"]
    for found in probes:
        yield from _library(device, found) if found.error else _devices(device, found)
    npu_ran = any(ran.device.startswith("NPU") and not ran.error for found in backends for ran in found.devices)
    openvino_loads = any(found.backend == "openvino" and not found.error for found in backends)
    if device.npu_node and openvino_loads and not npu_ran:
        yield Finding(
            "warning",
            "npu",
            "OpenVINO cannot use it",
            "install Intel's NPU driver: the packages of github.com/intel/linux-npu-driver",
        )
    if backends and not any(not ran.error for found in backends for ran in found.devices):
        missing = all("No module named" in found.error for found in backends)
        fix = "`siamedge flash` brings them; here: pip install 'siamedge[tflite]'" if missing else "see above"
        yield Finding("warning" if missing else "failure", "backends", "no library runs a model yet", fix)


def _library(device: Capabilities, found: Probe) -> Iterator[Finding]:
    if "No module named" in found.error:
        extra = LIBRARIES[found.backend].extra if found.backend in LIBRARIES else ""
        fix = f"pip install 'siamedge[{extra}]'" if extra else "pip install siamedge"
        yield Finding("note", found.backend, "not installed", fix)
        return
    explained = explain_import(found.error, device.libc_version)
    meaning, fix = explained or (found.error, "install the library again")
    yield Finding("warning", found.backend, f"does not load: {meaning}", fix)


def _devices(device: Capabilities, found: Probe) -> Iterator[Finding]:
    for ran in found.devices:
        subject = "camera" if found.backend == "cameras" else f"{found.backend} {ran.device}"
        if not ran.error and found.backend == "cameras":
            yield Finding("ok", subject, f"{ran.device} gives {ran.ran_on}, first frame after {ran.ms:.0f} ms")
        elif found.backend == "cameras":
            yield Finding("warning", subject, f"{ran.device} {ran.error}", "is another program using it?")
        elif ran.error:
            explained = explain_import(ran.error, device.libc_version)
            meaning, fix = explained or (ran.error, "use another device of it")
            yield Finding("warning", subject, f"listed, but does not run: {meaning}", fix)
        elif ran.ran_on != ran.device and not ran.ran_on.startswith(f"{ran.device}."):
            yield Finding("warning", subject, f"listed, but the model ran on {ran.ran_on}", "use another device of it")
        else:
            yield Finding("ok", subject, f"{found.version} ran a model ({ran.ms:.1f} ms with loading)")
