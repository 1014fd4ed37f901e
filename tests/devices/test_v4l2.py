"""Cameras as the kernel describes them, played by a driver in Python over the structures of videodev2.h."""

import re
import shutil
import struct
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from siamedge.devices.boards.v4l2 import (
    ENUM_FORMATS,
    ENUM_INTERVALS,
    ENUM_SIZES,
    QUERYCAP,
    CameraInfo,
    Mode,
    find_cameras,
)

MJPG, GREY = (int.from_bytes(name, "little") for name in (b"MJPG", b"GREY"))
SIZES = {MJPG: [(640, 480), (1280, 720)]}
RATES = {(640, 480): [(1, 15), (1, 60)], (1280, 720): [(1001, 30000)]}


class Driver:
    """Answers as a camera with two discrete MJPG sizes and a stepwise GREY range does."""

    def __init__(self, device_caps: int = 1) -> None:
        self._caps = device_caps

    def __call__(self, request: int, structure: bytearray) -> bool:
        index = struct.unpack_from("=I", structure)[0]
        if request == QUERYCAP:
            struct.pack_into("=II", structure, 84, 0x80000000 | 1, self._caps)
            return True
        if request == ENUM_FORMATS:
            if index > 1:
                return False
            struct.pack_into("=I", structure, 44, (MJPG, GREY)[index])
            return True
        code = struct.unpack_from("=I", structure, 4)[0]
        return self._size(code, index, structure) if request == ENUM_SIZES else self._interval(code, index, structure)

    @staticmethod
    def _size(code: int, index: int, structure: bytearray) -> bool:
        if code == GREY and index == 0:
            # min_width, max_width, step, min_height, max_height, step
            struct.pack_into("=I6I", structure, 8, 3, 32, 1920, 2, 24, 1080, 2)
            return True
        if code != MJPG or index >= len(SIZES[MJPG]):
            return False
        struct.pack_into("=3I", structure, 8, 1, *SIZES[MJPG][index])
        return True

    @staticmethod
    def _interval(code: int, index: int, structure: bytearray) -> bool:
        assert struct.unpack_from("=I", structure, 4)[0] == code
        rates = RATES.get(struct.unpack_from("=II", structure, 8), [])
        if code != MJPG or index >= len(rates):
            return False
        struct.pack_into("=III", structure, 16, 1, *rates[index])
        return True


def machine(root: Path) -> Path:
    (root / "dev/v4l/by-id").mkdir(parents=True)
    for number in (10, 2, 0):
        (root / f"dev/video{number}").touch()
        folder = root / f"sys/class/video4linux/video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"camera {number}\n")
    (root / "dev/v4l/by-id/usb-maker_cam-video-index0").symlink_to("../../video2")
    return root


def test_modes_are_read_from_the_kernels_structures(tmp_path: Path) -> None:
    drivers = {"video0": Driver(device_caps=0x00800000), "video2": Driver(), "video10": Driver()}
    found = find_cameras(machine(tmp_path), lambda node: nullcontext(drivers[node.name]))
    modes = (
        Mode("MJPG", 640, 480, 60.0),
        Mode("MJPG", 1280, 720, pytest.approx(29.97, abs=0.001)),
        Mode("GREY", 1920, 1080, 0.0),
    )
    assert found == [
        CameraInfo("/dev/video2", "camera 2", "/dev/v4l/by-id/usb-maker_cam-video-index0", modes),
        CameraInfo("/dev/video10", "camera 10", "", modes),
    ]


def test_a_camera_that_may_not_be_opened_is_listed_with_the_reason(tmp_path: Path) -> None:
    def refuse(node: Path) -> AbstractContextManager[Driver]:
        raise PermissionError(13, "Permission denied")

    found = find_cameras(machine(tmp_path), refuse)
    assert [camera.device for camera in found] == ["/dev/video0", "/dev/video2", "/dev/video10"]
    expected = "Permission denied: sudo usermod -aG video $USER, then log in again"
    assert {(camera.modes, camera.problem) for camera in found} == {(None, expected)}


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert find_cameras(tmp_path) == []


def test_files_that_are_no_devices_are_no_cameras(tmp_path: Path) -> None:
    assert find_cameras(machine(tmp_path)) == []


def test_request_numbers_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    if not shutil.which("cc") or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("needs a C compiler and the kernel's headers")
    names = ("VIDIOC_QUERYCAP", "VIDIOC_ENUM_FMT", "VIDIOC_ENUM_FRAMESIZES", "VIDIOC_ENUM_FRAMEINTERVALS")
    prints = "".join(f'printf("%u ", (unsigned){name});' for name in names)
    offsets = "".join(
        f'printf("%zu ", __builtin_offsetof(struct {place}));'
        for place in (
            "v4l2_capability, capabilities",
            "v4l2_fmtdesc, pixelformat",
            "v4l2_frmsizeenum, stepwise.max_height",
        )
    )
    source = tmp_path / "numbers.c"
    source.write_text(f"#include <linux/videodev2.h>\n#include <stdio.h>\nint main(void){{{prints}{offsets}return 0;}}")
    subprocess.run(["cc", "-o", str(tmp_path / "numbers"), str(source)], check=True)
    printed = subprocess.run([str(tmp_path / "numbers")], capture_output=True, text=True, check=True).stdout
    expected = [QUERYCAP, ENUM_FORMATS, ENUM_SIZES, ENUM_INTERVALS, 84, 44, 28]
    assert [int(number) for number in re.findall(r"\d+", printed)] == expected
