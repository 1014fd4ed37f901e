"""What is refused before anything is sent, on boards that lack something; and what is left out with a note."""

from dataclasses import replace
from pathlib import Path

import pytest

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.reading import read_capabilities
from siamedge.devices.boards.recording import parse_recording
from siamedge.devices.flashing.preflight import check_space, fit
from siamedge.devices.releases.wheelhouse import Platform
from siamedge.runtime.errors import DeviceError

BOARDS = Path(__file__).parent / "boards"
ALL = ("tflite", "onnx", "openvino")


def board(name: str) -> Capabilities:
    return read_capabilities(parse_recording((BOARDS / f"{name}.txt").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jetson-nano", "pi@x: Python 3.6 found, 3.10 or newer needed"),
        ("jetson-xavier-nx", "pi@x: Python 3.8 found, 3.10 or newer needed"),
        ("pi3b-plus-32bit", "pi@x: processor aarch64, 32 bit; aarch64 or x86_64, 64 bit needed"),
        ("broken-disk-and-clock", "pi@x: /opt is mounted read-only"),
    ],
)
def test_boards_that_cannot_take_a_release(name: str, message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        fit(board(name), "pi@x", ALL)
    assert str(caught.value) == message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "armv7l", "profile": None}, "pi@x: processor armv7l, 64 bit; aarch64 or x86_64, 64 bit needed"),
        ({"machine": "riscv64", "profile": None}, "pi@x: processor riscv64, 64 bit; aarch64 or x86_64, 64 bit needed"),
        ({"libc": "musl"}, "pi@x: its C library is musl, glibc needed"),
        ({"pythons": ()}, "pi@x: Python none found, 3.10 or newer needed"),
        ({"tools": frozenset()}, "pi@x: pi is not root and sudo is not there"),
        ({"disk": None}, "pi@x: its free space is unknown"),
    ],
)
def test_what_else_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        fit(replace(board("pi4"), **change), "pi@x", ALL)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_pi4_gets_the_libraries_of_its_profile() -> None:
    found = fit(board("pi4"), "pi@x", ALL)
    assert found.backends == ("tflite", "onnxruntime")
    assert (found.base, found.scope, found.sudo, found.notes) == ("/opt/siamedge", "system", True, ())


def test_a_backend_whose_models_are_not_in_the_bundle_is_left_out() -> None:
    found = fit(board("pi4"), "pi@x", ("onnx",))
    assert found.backends == ("onnxruntime",)
    assert found.notes == ("tflite: the bundle has no tflite models",)


def test_a_backend_that_is_too_new_for_the_c_library_is_left_out() -> None:
    found = fit(replace(board("pi4"), libc_version=(2, 31)), "pi@x", ALL)
    assert found.backends == ("onnxruntime",)
    assert found.notes == ("tflite: needs glibc 2.34, the device has 2.31",)


def test_a_c_library_of_just_the_needed_version_is_enough() -> None:
    assert fit(replace(board("pi4"), libc_version=(2, 34)), "pi@x", ALL).backends == ("tflite", "onnxruntime")


def test_user_service_goes_to_the_home_folder() -> None:
    pi4 = board("pi4")
    disk = pi4.disk
    assert disk is not None
    found = fit(replace(pi4, disk=disk._replace(writable=True)), "pi@x", ALL, scope="user")
    assert (found.base, found.sudo) == ("/home/pi/.local/share/siamedge", False)
    with pytest.raises(DeviceError, match="pi may not write in /opt"):
        fit(pi4, "pi@x", ALL, scope="user")


def test_space_is_compared_with_what_is_sent() -> None:
    check_space(board("pi4"), "pi@x", 300 << 20)
    with pytest.raises(DeviceError, match=r"^pi@x: 117 MiB free in /opt, 400 needed$"):
        check_space(board("broken-disk-and-clock"), "pi@x", 300 << 20)


def test_wheels_are_asked_for_exactly_that_platform() -> None:
    options = Platform("3.11", "aarch64", (2, 36)).pip_options()
    assert options[:3] == ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
    assert options[3] == "--platform=manylinux_2_36_aarch64"
    assert "--platform=manylinux_2_37_aarch64" not in options
    assert options[-3:] == ["--abi=cp311", "--abi=abi3", "--abi=none"]
