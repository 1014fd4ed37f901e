"""A card or image of Raspberry Pi OS: files on its boot partition, and one line that runs them at the first boot."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from siamedge.runtime.errors import DeviceError

FOLDER = "siamedge"
NO_RAW_DEVICES = "raw devices are refused: a wrong letter erases a disk; change the image file, then write it"
_BACKUP = "cmdline.txt.before-siamedge"
_FIRST_BOOT = (
    "systemd.run=/boot/firmware/siamedge/firstrun.sh "
    "systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
)
_FAT_TYPES = ("b", "c", "e", "6", "ef")
_FIRSTRUN = r"""#!/bin/sh
# Runs once, at the first boot; whatever happens, the next boot is an ordinary one.
cd /boot/firmware || exit 0
{
    sed 's# systemd\.run=/boot/firmware/siamedge/firstrun\.sh .*kernel-command-line\.target##' cmdline.txt >cmdline.part
    [ -s cmdline.part ] && mv cmdline.part cmdline.txt
    sh siamedge/install.sh boot && rm -rf siamedge/layers siamedge/releases && echo installed
    sync
} >siamedge/firstrun.log 2>&1
exit 0
"""


def with_first_boot(cmdline: str) -> str:
    """cmdline.txt with siamedge's first-boot unit; one that has it already comes back unchanged.

    Raises:
        DeviceError: It is not one line, or another first-boot unit is in it.
    """
    line = cmdline.rstrip("\n")
    if "\n" in line or not line.strip():
        raise DeviceError(f"cmdline.txt has {len(line.splitlines())} lines, 1 expected", hint="write the card again")
    if _FIRST_BOOT in line:
        return cmdline
    if other := re.search(r"systemd\.(?:run|unit)\S*=\S+", line):
        raise DeviceError(
            f"cmdline.txt already runs another first-boot unit ({other[0]})", hint="boot the card once, then try again"
        )
    return f"{line} {_FIRST_BOOT}\n"


def check_card(boot: Path) -> None:
    """Refuse what is no mounted boot partition, before anything is fetched for it.

    Raises:
        DeviceError: It is none, or has another first-boot unit.
    """
    if boot.is_block_device():
        raise DeviceError(f"{boot} is not a folder", hint=NO_RAW_DEVICES)
    if not (boot / "cmdline.txt").is_file():
        raise DeviceError(f"{boot} has no cmdline.txt", hint="name the mounted boot partition (bootfs) of the card")
    with_first_boot(_read(boot / "cmdline.txt"))


def check_image(image: Path) -> None:
    """Refuse what is no image with a boot partition, before anything is fetched for it.

    Raises:
        DeviceError: It is none, or a tool is missing.
    """
    if not image.is_file():
        raise DeviceError(f"{image} is not an image file", hint=NO_RAW_DEVICES)
    _boot_offset(image)


def write_card(boot: Path, carried: Path) -> None:
    """Put a carried release on a mounted boot partition.

    Args:
        boot: Its folder, such as /media/me/bootfs.
        carried: From write_carried.

    Raises:
        DeviceError: It is no boot partition, is too full, or has another first-boot unit.
    """
    check_card(boot)
    before = _read(boot / "cmdline.txt")
    after = with_first_boot(before)
    _check_room(shutil.disk_usage(boot).free + _size(boot / FOLDER), carried)
    shutil.rmtree(boot / FOLDER, ignore_errors=True)
    shutil.copytree(carried, boot / FOLDER)
    (boot / FOLDER / "firstrun.sh").write_text(_FIRSTRUN, encoding="utf-8")
    if after != before:
        _write(boot / _BACKUP, before)
        part = boot / "cmdline.part"
        _write(part, after)
        part.replace(boot / "cmdline.txt")


def write_image(image: Path, carried: Path) -> None:
    """Put a carried release on the boot partition inside an image file, by mtools: no root, no mount.

    Raises:
        DeviceError: It is no such image, a tool is missing, or as in write_card.
    """
    check_image(image)
    where = f"{image}@@{_boot_offset(image)}"
    with tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        boot = Path(work)
        _mtools("mcopy", where, "-n", "::cmdline.txt", str(boot / "before"))
        before = _read(boot / "before")
        after = with_first_boot(before)
        is_there = FOLDER in _mtools("mdir", where, "-b", "::").lower()
        old_bytes = _listed_bytes(_mtools("mdir", where, "-/", f"::{FOLDER}")) if is_there else 0
        _check_room(_free_bytes(_mtools("mdir", where, "::")) + old_bytes, carried)
        if is_there:
            _mtools("mdeltree", where, f"::{FOLDER}")
        shutil.copytree(carried, boot / FOLDER)
        (boot / FOLDER / "firstrun.sh").write_text(_FIRSTRUN, encoding="utf-8")
        _mtools("mcopy", where, "-s", "-o", str(boot / FOLDER), "::")
        if after != before:
            _write(boot / "after", after)
            _mtools("mcopy", where, "-o", str(boot / "before"), f"::{_BACKUP}")
            _mtools("mcopy", where, "-o", str(boot / "after"), "::cmdline.txt")


def _boot_offset(image: Path) -> int:
    """Byte at which the first FAT partition begins.

    Raises:
        DeviceError: There is none.
    """
    table = json.loads(_tool(["sfdisk", "-J", str(image)]))["partitiontable"]
    for partition in table.get("partitions", []):
        if partition["type"].lower() in _FAT_TYPES:
            return int(partition["start"]) * int(table.get("sectorsize", 512))
    raise DeviceError(f"{image.name} has no FAT boot partition", hint="use an image of Raspberry Pi OS, unpacked")


def _free_bytes(listing: str) -> int:
    found = re.search(r"([\d ]+) bytes free", listing)
    return int(found[1].replace(" ", "")) if found else 0


def _listed_bytes(listing: str) -> int:
    """Of all files of a recursive listing, which has its total near the end."""
    found = re.search(r"Total files listed:\s+\d+ files?\s+([\d ]+) bytes", listing)
    return int(found[1].replace(" ", "")) if found else 0


def _read(path: Path) -> str:
    """A kernel's command line, whose bytes are in no encoding."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_room(free_bytes: int, carried: Path) -> None:
    """Compare a boot partition's free space, that of an older copy counted in, with what is carried."""
    needed = _size(carried)
    if needed > free_bytes:
        raise DeviceError(
            f"the boot partition has {free_bytes >> 20} MiB free, {(needed >> 20) + 1} needed",
            hint="fewer --backends, or flash over ssh",
        )


def _mtools(program: str, where: str, *arguments: str) -> str:
    return _tool([program, "-i", where, *arguments])


def _tool(command: Sequence[str]) -> str:
    try:
        environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    except FileNotFoundError as error:
        raise DeviceError(f"{command[0]} is not installed", hint="apt install mtools fdisk") from error
    if done.returncode:
        last = (done.stderr.strip() or "failed").splitlines()[-1]
        raise DeviceError(f"{command[0]}: {last}", hint="is the image complete, and unpacked?")
    return done.stdout
