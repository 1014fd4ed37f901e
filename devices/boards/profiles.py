"""The boards that siamedge knows: how to recognise each, what to try on it first, and how well that is founded."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from siamedge.devices.boards.recording import Recording
from siamedge.runtime.backends.backend import Precision

Family = Literal["jetson", "raspberry-pi", "intel-npu", "x86-64", "aarch64"]
CameraStack = Literal["v4l2", "picamera2", "argus"]
Evidence = Literal["silicon", "emulated", "documentation"]


class Choice(NamedTuple):
    """One way to run a model.

    Attributes:
        backend: Name in runtime.backends.backend.BACKENDS.
        device: "CPU", "GPU", "NPU" or "TENSORRT", as the backend names it.
        precision: Which artifact of the bundle.
    """

    backend: str
    device: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What is known of a board before anything was measured on it.

    Attributes:
        name: Short, for the command line.
        title: For people.
        family: Group of boards with the same software.
        compatible: Entries of /proc/device-tree/compatible, one of which it has; a trailing * matches the rest.
        pci: PCI ids, upper case "8086:7D1D", one of which it has.
        backends: In the order in which to try them; what `tune` measures on the board itself wins.
        threads: For CPU inference.
        camera: How its own camera connector is read; USB cameras are V4L2 everywhere.
        groups: Groups that the service needs for camera and accelerator.
        evidence: Where this row comes from.
    """

    name: str
    title: str
    family: Family
    backends: tuple[Choice, ...]
    compatible: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()
    threads: int = 1
    camera: CameraStack = "v4l2"
    groups: tuple[str, ...] = ("video",)
    evidence: Evidence = "documentation"


_ARM_DOT = (
    Choice("tflite", "CPU", "int8"),
    Choice("onnxruntime", "CPU", "int8"),
    Choice("tflite", "CPU", "fp32"),
    Choice("onnxruntime", "CPU", "fp32"),
)
_ARM_PLAIN = (
    Choice("tflite", "CPU", "fp32"),
    Choice("tflite", "CPU", "int8"),
    Choice("onnxruntime", "CPU", "fp32"),
    Choice("onnxruntime", "CPU", "int8"),
)
_JETSON = (
    Choice("onnxruntime", "TENSORRT", "fp16"),
    Choice("onnxruntime", "GPU", "fp16"),
    *_ARM_PLAIN,
)
_JETSON_ORIN = (*_JETSON[:2], *_ARM_DOT)
_X86 = (
    Choice("openvino", "CPU", "int8"),
    Choice("tflite", "CPU", "int8"),
    Choice("onnxruntime", "CPU", "int8"),
    Choice("openvino", "CPU", "fp32"),
)
_NPU = (
    Choice("openvino", "NPU", "int8"),
    Choice("openvino", "NPU", "fp16"),
    Choice("openvino", "GPU", "fp16"),
    *_X86,
)
_RENDER = ("video", "render")

PROFILES: tuple[DeviceProfile, ...] = (
    DeviceProfile("jetson-thor", "NVIDIA Jetson Thor", "jetson", _JETSON_ORIN, ("nvidia,tegra264",), camera="argus"),
    DeviceProfile("jetson-orin", "NVIDIA Jetson Orin", "jetson", _JETSON_ORIN, ("nvidia,tegra234",), camera="argus"),
    DeviceProfile("jetson-xavier", "NVIDIA Jetson Xavier", "jetson", _JETSON, ("nvidia,tegra194",), camera="argus"),
    DeviceProfile("jetson-tx2", "NVIDIA Jetson TX2", "jetson", _JETSON, ("nvidia,tegra186",), camera="argus"),
    DeviceProfile("jetson-nano", "NVIDIA Jetson Nano", "jetson", _JETSON, ("nvidia,tegra210",), camera="argus"),
    DeviceProfile(
        "pi5",
        "Raspberry Pi 5, 500 or Compute Module 5",
        "raspberry-pi",
        _ARM_DOT,
        ("brcm,bcm2712",),
        camera="picamera2",
        groups=_RENDER,
    ),
    DeviceProfile(
        "pi4",
        "Raspberry Pi 4, 400 or Compute Module 4",
        "raspberry-pi",
        _ARM_PLAIN,
        ("brcm,bcm2711",),
        camera="picamera2",
        groups=_RENDER,
        evidence="emulated",
    ),
    DeviceProfile(
        "pi-zero-2",
        "Raspberry Pi Zero 2 W",
        "raspberry-pi",
        _ARM_PLAIN[:2],
        ("raspberrypi,model-zero-2*",),
        camera="picamera2",
        groups=_RENDER,
    ),
    DeviceProfile(
        "pi3",
        "Raspberry Pi 3 or Compute Module 3",
        "raspberry-pi",
        _ARM_PLAIN,
        ("brcm,bcm2837",),
        camera="picamera2",
        groups=_RENDER,
    ),
    DeviceProfile(
        "npu-meteor-lake", "Intel Core Ultra 1 with NPU 3720", "intel-npu", _NPU, pci=("8086:7D1D",), groups=_RENDER
    ),
    DeviceProfile(
        "npu-arrow-lake", "Intel Core Ultra 2 with NPU 3720", "intel-npu", _NPU, pci=("8086:AD1D",), groups=_RENDER
    ),
    DeviceProfile(
        "npu-lunar-lake", "Intel Core Ultra 2 with NPU 4000", "intel-npu", _NPU, pci=("8086:643E",), groups=_RENDER
    ),
    DeviceProfile(
        "npu-panther-lake", "Intel Core Ultra 3 with NPU 5000", "intel-npu", _NPU, pci=("8086:B03E",), groups=_RENDER
    ),
)
"""Recognised from the top; a new board is a new row."""

GENERIC_X86 = DeviceProfile("x86-64", "x86-64 without a known accelerator", "x86-64", _X86, evidence="silicon")
GENERIC_ARM = DeviceProfile("aarch64", "aarch64 board", "aarch64", _ARM_PLAIN, evidence="emulated")
GENERIC_ARM_DOT = DeviceProfile("aarch64-dotprod", "aarch64 board with int8 dot product", "aarch64", _ARM_DOT)
_ALL = (*PROFILES, GENERIC_X86, GENERIC_ARM, GENERIC_ARM_DOT)


def profile_named(name: str) -> DeviceProfile | None:
    """The profile of a name, None if there is none."""
    return next((profile for profile in _ALL if profile.name == name), None)


def recognise(recording: Recording) -> DeviceProfile | None:
    """The first profile that a device fits; a generic one for other 64-bit machines; None for the rest."""
    compatible = recording.read("/proc/device-tree/compatible").splitlines()
    pci = pci_ids(recording)
    for profile in PROFILES:
        if any(_names(entry, compatible) for entry in profile.compatible) or not pci.isdisjoint(profile.pci):
            return profile
    machine = recording.output("uname -m")
    if machine == "aarch64":
        return GENERIC_ARM_DOT if " asimddp" in recording.read("/proc/cpuinfo") else GENERIC_ARM
    return GENERIC_X86 if machine == "x86_64" else None


def pci_ids(recording: Recording) -> frozenset[str]:
    """Vendor and device of every PCI function, such as "8086:7D1D"."""
    uevents = (recording.read(path) for path in recording.paths("/sys/bus/pci/devices/*/uevent"))
    lines = (line for uevent in uevents for line in uevent.splitlines())
    return frozenset(line.removeprefix("PCI_ID=").upper() for line in lines if line.startswith("PCI_ID="))


def _names(entry: str, compatible: list[str]) -> bool:
    if entry.endswith("*"):
        return any(found.startswith(entry[:-1]) for found in compatible)
    return entry in compatible
