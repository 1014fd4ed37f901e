"""Boards are recognised from texts of their /proc and /sys; each row states what its documentation says."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.profiles import PROFILES
from siamedge.devices.boards.reading import read_capabilities
from siamedge.devices.boards.recording import Node, parse_recording, recorder_script
from siamedge.runtime.backends.backend import BACKENDS
from siamedge.runtime.errors import DeviceError

BOARDS = Path(__file__).parent / "boards"


class Truth(NamedTuple):
    profile: str
    features: set[str]
    cpus: int
    glibc: tuple[int, int]
    python: str
    jetpack: str = ""
    gpu: str = ""
    npu: bool = False
    cameras: tuple[str, ...] = ()


A76 = {"dotprod", "fp16"}
TRUTHS = {
    "pi-zero-2w": Truth("pi-zero-2", set(), 4, (2, 36), "3.11"),
    "pi3b-plus-32bit": Truth("pi3", set(), 4, (2, 36), ""),
    "pi4": Truth("pi4", set(), 4, (2, 36), "3.11", cameras=("csi",)),
    "pi400": Truth("pi4", set(), 4, (2, 41), "3.13", cameras=("usb",)),
    "cm4": Truth("pi4", set(), 4, (2, 36), "3.11"),
    "pi5": Truth("pi5", A76, 4, (2, 41), "3.13", cameras=("csi",)),
    "cm5": Truth("pi5", A76, 4, (2, 41), "3.13"),
    "jetson-nano": Truth("jetson-nano", set(), 4, (2, 27), "", "4", "nvidia", cameras=("csi",)),
    "jetson-tx2": Truth("jetson-tx2", set(), 6, (2, 27), "", "4", "nvidia"),
    "jetson-xavier-nx": Truth("jetson-xavier", {"fp16"}, 6, (2, 31), "", "5", "nvidia"),
    "jetson-orin-nano": Truth("jetson-orin", A76, 6, (2, 35), "3.10", "6", "nvidia", cameras=("csi",)),
    "jetson-agx-thor": Truth("jetson-thor", {*A76, "sve", "i8mm", "bf16"}, 14, (2, 39), "3.12", "7", "nvidia"),
    "rock5b": Truth("aarch64-dotprod", A76, 8, (2, 36), "3.11", cameras=("usb",)),
    "meteor-lake": Truth(
        "npu-meteor-lake", {"avx2", "vnni"}, 22, (2, 39), "3.12", gpu="intel", npu=True, cameras=("usb",)
    ),
    "arrow-lake": Truth("npu-arrow-lake", {"avx2", "vnni"}, 20, (2, 39), "3.12", gpu="intel", npu=True),
    "lunar-lake-no-group": Truth(
        "npu-lunar-lake", {"avx2", "vnni"}, 8, (2, 39), "3.12", gpu="intel", npu=True, cameras=("usb",)
    ),
    "panther-lake-no-driver": Truth("npu-panther-lake", {"avx2", "vnni"}, 16, (2, 36), "3.11", npu=True),
    "n100": Truth("x86-64", {"avx2", "vnni"}, 4, (2, 39), "3.12", gpu="intel", cameras=("usb",)),
    "sapphire-rapids": Truth("x86-64", {"avx2", "avx512", "vnni", "bf16", "fp16", "amx"}, 32, (2, 39), "3.12"),
    "broken-disk-and-clock": Truth("pi4", set(), 4, (2, 36), "3.11", cameras=("usb",)),
}


def board(name: str) -> Capabilities:
    return read_capabilities(parse_recording((BOARDS / f"{name}.txt").read_text(encoding="utf-8")))


def test_every_board_text_has_a_truth() -> None:
    assert sorted(path.stem for path in BOARDS.glob("*.txt")) == sorted(TRUTHS)
    assert len(TRUTHS) >= 12


@pytest.mark.parametrize("name", TRUTHS)
def test_board_is_recognised(name: str) -> None:
    device, truth = board(name), TRUTHS[name]
    assert device.profile is not None
    assert device.profile.name == truth.profile
    assert device.cpu_features == truth.features
    assert device.cpu_count == truth.cpus
    assert (device.libc, device.libc_version) == ("glibc", truth.glibc)
    python = device.python_at_least((3, 10))
    assert (python.tag if python else "") == truth.python
    assert (device.jetpack, device.gpu, device.npu_present) == (truth.jetpack, truth.gpu, truth.npu)
    assert tuple(camera.kind for camera in device.cameras) == truth.cameras


def test_every_profile_but_none_is_seen_on_some_board() -> None:
    assert {profile.name for profile in PROFILES} <= {truth.profile for truth in TRUTHS.values()}


def test_profiles_name_backends_that_exist() -> None:
    assert {choice.backend for profile in PROFILES for choice in profile.backends} <= set(BACKENDS)


def test_throttling_bits_of_a_hot_pi5() -> None:
    power = board("pi5").power
    assert power is not None
    assert (power.under_voltage_now, power.throttled_now) == (False, True)
    assert (power.under_voltage_before, power.throttled_before) == (False, True)


def test_under_voltage_alarm_of_the_mainline_driver() -> None:
    power = board("pi400").power
    assert power is not None
    assert (power.under_voltage_now, power.throttled_now) == (True, False)


def test_32_bit_userland_on_a_64_bit_kernel_is_seen() -> None:
    device = board("pi3b-plus-32bit")
    assert (device.machine, device.userland_bits) == ("aarch64", 32)
    assert device.pythons[0].bits == 32


def test_read_only_root_is_seen() -> None:
    disk = board("broken-disk-and-clock").disk
    assert disk is not None
    assert (disk.folder, disk.free_mib, disk.writable, disk.read_only) == ("/opt", 117, False, True)


@pytest.mark.parametrize(
    ("user", "groups", "opens"),
    [("pi", {"render"}, True), ("pi", {"video"}, False), ("root", set(), True), ("npu", set(), True)],
)
def test_who_may_open_a_node(user: str, groups: set[str], opens: bool) -> None:
    assert Node(0o660, "npu", "render").is_open_to(user, frozenset(groups)) is opens


def test_a_tree_on_disk_gives_the_same_texts_as_its_recording(tmp_path: Path) -> None:
    recorded = parse_recording((BOARDS / "pi5.txt").read_text(encoding="utf-8"))
    for path, text in recorded.texts.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_bytes(text.replace("\n", "\0").encode() if "compatible" in path else text.encode())
    again = subprocess.run(
        ["sh", "-c", recorder_script(), "sh", str(tmp_path), "/"], capture_output=True, text=True, check=True
    )
    assert dict(parse_recording(again.stdout).texts) == dict(recorded.texts)


def test_this_machine_is_recognised() -> None:
    printed = subprocess.run(
        ["sh", "-c", recorder_script(), "sh", "", "/opt/siamedge"], capture_output=True, text=True, check=True
    ).stdout
    device = read_capabilities(parse_recording(printed))
    assert device.profile is not None
    assert device.memory_mib > 100
    assert device.clock_s is not None
    assert device.disk is not None


@pytest.mark.parametrize(
    ("mode", "owner", "member", "other"),
    [
        (0o666, True, True, True),
        (0o660, True, True, False),
        (0o600, True, False, False),
        (0o640, True, False, False),
        (0o460, False, True, False),
        (0o664, True, True, False),
    ],
)
def test_a_node_is_open_to_who_may_read_and_write_it(mode: int, owner: bool, member: bool, other: bool) -> None:
    groups = frozenset({"video"})
    assert Node(mode, "pi", "root").is_open_to("pi", groups) is owner
    assert Node(mode, "root", "video").is_open_to("pi", groups) is member
    assert Node(mode, "root", "root").is_open_to("pi", groups) is other
    assert Node(mode, "root", "root").is_open_to("root", frozenset())


def test_the_hottest_zone_counts() -> None:
    zones = "== /sys/class/thermal/thermal_zone0/temp\n 41000\n== /sys/class/thermal/thermal_zone1/temp\n 83500\n"
    assert read_capabilities(parse_recording(zones)).temperature_c == 83.5


def test_empty_recording_is_an_error() -> None:
    with pytest.raises(DeviceError, match="recording has no entry in 5 characters"):
        parse_recording("hello")
