"""Cards and images: first-boot line, backup, refusal, idempotence; read back by mtools, not by our code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from releases import small_release
from tiny_bundle import tiny_bundle

from siamedge.devices.flashing.card import with_first_boot, write_card, write_image
from siamedge.devices.flashing.carried import write_carried, write_tar
from siamedge.devices.flashing.preparing import FlashOptions, Parts, make_release
from siamedge.devices.flashing.systems import SYSTEMS, assume
from siamedge.devices.releases.wheelhouse import Platform
from siamedge.runtime.errors import DeviceError

CMDLINE = "console=serial0,115200 root=PARTUUID=1234-02 rootfstype=ext4 rootwait\n"


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    found, platform = assume("pi4", "bookworm", ("onnx",))
    parts = Parts(tiny_bundle(tmp_path), found, platform, ("video",))
    options = FlashOptions(track=("--source", "0"), send_wheels=False)
    release = make_release(parts, options, tmp_path / "cache", tmp_path / "work")
    write_carried(release, platform, tmp_path / "carried", tmp_path / "cache")
    return tmp_path / "carried"


def test_first_boot_line_is_appended_once() -> None:
    once = with_first_boot(CMDLINE)
    assert once.startswith(CMDLINE.rstrip("\n") + " systemd.run=/boot/firmware/siamedge/firstrun.sh ")
    assert once.count("\n") == 1
    assert with_first_boot(once) == once


def test_another_first_boot_unit_is_not_overwritten() -> None:
    with pytest.raises(DeviceError) as caught:
        with_first_boot(CMDLINE.rstrip() + " systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot\n")
    assert str(caught.value) == ("cmdline.txt already runs another first-boot unit (systemd.run=/boot/firstrun.sh)")


def test_card_keeps_a_backup_and_can_be_written_twice(tmp_path: Path, carried: Path) -> None:
    boot = tmp_path / "bootfs"
    boot.mkdir()
    (boot / "cmdline.txt").write_text(CMDLINE)
    write_card(boot, carried)
    first = {path.relative_to(boot): path.read_bytes() for path in boot.rglob("*") if path.is_file()}
    write_card(boot, carried)
    assert {path.relative_to(boot): path.read_bytes() for path in boot.rglob("*") if path.is_file()} == first
    assert (boot / "cmdline.txt.before-siamedge").read_text() == CMDLINE
    assert (boot / "cmdline.txt").read_text() == with_first_boot(CMDLINE)


def test_a_command_line_in_no_encoding_is_kept(tmp_path: Path, carried: Path) -> None:
    boot, line = tmp_path / "bootfs", b"root=LABEL=caf\xe9 rootwait\n"
    boot.mkdir()
    (boot / "cmdline.txt").write_bytes(line)
    write_card(boot, carried)
    assert (boot / "cmdline.txt").read_bytes().startswith(line.rstrip() + b" systemd.run=")
    assert (boot / "cmdline.txt.before-siamedge").read_bytes() == line


def test_the_older_copy_on_a_card_counts_as_room(
    tmp_path: Path, carried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "bootfs"
    boot.mkdir()
    (boot / "cmdline.txt").write_text(CMDLINE)
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DeviceError, match="the boot partition has 0 MiB free, "):
            write_card(boot, carried)
    write_card(boot, carried)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    write_card(boot, carried)


def test_a_folder_that_is_no_boot_partition_is_refused(tmp_path: Path, carried: Path) -> None:
    with pytest.raises(DeviceError, match=r"has no cmdline\.txt"):
        write_card(tmp_path, carried)


def test_firstrun_restores_the_line_even_when_the_install_fails(tmp_path: Path, carried: Path) -> None:
    boot = tmp_path / "bootfs"
    boot.mkdir()
    (boot / "cmdline.txt").write_text(CMDLINE)
    write_card(boot, carried)
    script = (boot / "siamedge/firstrun.sh").read_text().replace("/boot/firmware ||", f"{boot} ||")
    (boot / "siamedge/install.sh").write_text("exit 1\n")
    subprocess.run(["sh", "-c", script], check=True, timeout=30)
    assert (boot / "cmdline.txt").read_text() == CMDLINE
    assert (boot / "siamedge/layers").is_dir()


def image_of(folder: Path) -> Path:
    """An image as Raspberry Pi OS's: a FAT partition at sector 8192, a Linux one behind it."""
    for program in ("sfdisk", "mkfs.vfat", "mcopy"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"{program} not installed")
    image, fat = folder / "os.img", folder / "fat"
    with image.open("wb") as file:
        file.truncate(96 << 20)
    layout = "label: dos\nstart=8192, size=131072, type=c\nstart=139264, type=83\n"
    subprocess.run(["/usr/sbin/sfdisk", "-q", str(image)], input=layout, text=True, check=True)
    with fat.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-F", "32", "-n", "BOOTFS", str(fat)], check=True, capture_output=True)
    (folder / "cmdline.txt").write_text(CMDLINE)
    subprocess.run(["mcopy", "-i", str(fat), str(folder / "cmdline.txt"), "::"], check=True)
    with image.open("r+b") as file:
        file.seek(8192 * 512)
        file.write(fat.read_bytes())
    return image


def in_image(image: Path, path: str) -> bytes:
    command = ["mtype", "-i", f"{image}@@{8192 * 512}", f"::{path}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_image_is_written_without_root_or_mount(tmp_path: Path, carried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    image = image_of(tmp_path)
    with (carried / "layers/half-of-the-partition").open("wb") as file:
        file.truncate(40 << 20)
    write_image(image, carried)
    write_image(image, carried)
    assert in_image(image, "cmdline.txt").decode() == with_first_boot(CMDLINE)
    assert in_image(image, "cmdline.txt.before-siamedge").decode() == CMDLINE
    for path in sorted(path for path in carried.rglob("*") if path.is_file()):
        assert in_image(image, f"siamedge/{path.relative_to(carried).as_posix()}") == path.read_bytes()


@pytest.mark.parametrize("name", ["/dev/null", "missing.img"])
def test_raw_devices_are_refused(name: str, carried: Path) -> None:
    with pytest.raises(DeviceError, match="is not an image file") as caught:
        write_image(Path(name), carried)
    assert caught.value.hint.startswith("raw devices are refused")


def test_tar_has_the_same_bytes_again_and_installs(tmp_path: Path, carried: Path) -> None:
    write_tar(tmp_path / "a.tar", carried)
    write_tar(tmp_path / "b.tar", carried)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    listing = subprocess.run(["tar", "-tf", str(tmp_path / "a.tar")], capture_output=True, text=True, check=True)
    assert "siamedge/install.sh" in listing.stdout.splitlines()


def test_carried_files_install_without_a_network(tmp_path: Path) -> None:
    base = tmp_path / "opt"
    release = small_release(tmp_path / "here", base, "carried", python=sys.executable)
    platform = Platform("3.11", "x86_64", (2, 36))
    write_carried(release, platform, tmp_path / "files", tmp_path / "cache", str(base))
    write_tar(tmp_path / "site.tar", tmp_path / "files")
    subprocess.run(["tar", "-xf", str(tmp_path / "site.tar"), "-C", str(tmp_path)], check=True)
    program = str(tmp_path / "siamedge/device.py")
    command = [
        sys.executable,
        "-I",
        program,
        "install",
        str(base),
        str(tmp_path / "siamedge"),
        release.name,
        "none",
        "0",
    ]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert (base / "current/bundle/text").read_text() == "carried"
    packed = next((tmp_path / "siamedge/layers").glob("*.tar.gz"))
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    other = [str(tmp_path / "other") if word == str(base) else word for word in command]
    refused = subprocess.run(other, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert refused.returncode == 20
    assert "damaged" in refused.stderr or "has sha256" in refused.stderr
    assert not (tmp_path / "other/current").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="install.sh wants root")
def test_install_keeps_three_releases(tmp_path: Path) -> None:
    base = tmp_path / "opt"
    for number in range(5):
        release = small_release(tmp_path / "here", base, str(number), python=sys.executable, size=10)
        files, here = tmp_path / f"files-{number}", Platform(f"3.{sys.version_info.minor}", os.uname().machine, (2, 36))
        write_carried(release, here, files, tmp_path / "cache", str(base))
        script = (files / "install.sh").read_text().replace("/usr/bin/python3", sys.executable)
        (files / "install.sh").write_text(script)
        subprocess.run(["sh", str(files / "install.sh"), "none"], check=True, capture_output=True)
    assert (base / "current/bundle/text").read_text() == "4"
    assert len(list((base / "releases").iterdir())) == len(list((base / "layers").iterdir())) == 3


def test_install_refuses_another_processor(carried: Path) -> None:
    done = subprocess.run(["sh", str(carried / "install.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("siamedge: made for aarch64, this device is ") or "run this as root" in done.stderr


def test_systems_are_new_enough_for_a_backend() -> None:
    for name in SYSTEMS:
        found, platform = assume("aarch64", name, ("tflite", "onnx", "openvino"))
        assert found.choices
        assert isinstance(platform, Platform)


def test_backends_that_are_asked_for_are_taken_or_told() -> None:
    found, _ = assume("pi5", "trixie", ("tflite", "onnx", "openvino"), ("tflite", "openvino"))
    assert found.backends == ("tflite", "openvino")
    assert found.notes == ()
    found, _ = assume("pi5", "trixie", ("tflite", "onnx"), ("tflite", "openvino"))
    assert found.backends == ("tflite",)
    assert found.notes == ("openvino: the bundle has no openvino models",)
    with pytest.raises(DeviceError) as caught:
        assume("pi5", "trixie", ("tflite",), ("openvino",))
    assert str(caught.value) == (
        "no backend of pi5 fits trixie and this bundle: openvino: the bundle has no openvino models"
    )


def test_unknown_board_and_system_are_told() -> None:
    with pytest.raises(DeviceError, match="board 'pi6' is unknown"):
        assume("pi6", "bookworm", ("onnx",))
    with pytest.raises(DeviceError, match="system 'buster' is unknown"):
        assume("pi4", "buster", ("onnx",))
