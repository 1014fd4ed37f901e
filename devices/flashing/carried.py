"""A release as files that somebody carries to a device: a folder with install.sh, or one tar file of it."""

import os
import shlex
import shutil
import tarfile
from pathlib import Path

from siamedge.devices.connection.client import program
from siamedge.devices.releases.layers import pack
from siamedge.devices.releases.release import Release
from siamedge.devices.releases.wheelhouse import Platform
from siamedge.runtime.places import replacing

_INSTALL = """#!/bin/sh
# Installs a siamedge release on this device: sh install.sh, as root. Needs no network.
# sh install.sh boot: from a first-boot unit; the service starts with the next boot.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "$(id -u)" != 0 ]; then echo "siamedge: run this as root: sudo sh $0" >&2; exit 1; fi
if [ "$(uname -m)" != {machine} ]; then
    echo "siamedge: made for {machine}, this device is $(uname -m)" >&2; exit 1
fi
found=$({python} -c 'import sys; print("%d.%d" % sys.version_info[:2])') || found=none
if [ "$found" != {version} ]; then
    echo "siamedge: made for Python {version}, this device has $found" >&2; exit 1
fi
{python} -I "$here/device.py" install {base} "$here" {release} "${1:-system}" 5
exec {python} -I "$here/device.py" tidy {base} 1
"""


def write_carried(release: Release, platform: Platform, target: Path, cache: Path, base: str = "/opt/siamedge") -> None:
    """Write install.sh, the device's side and the packed release into a folder.

    Args:
        release: To be installed.
        platform: That it was made for.
        target: New folder.
        cache: Folder for packed layers.
        base: Folder on the device.
    """
    for kind in ("layers", "releases"):
        (target / kind).mkdir(parents=True)
    for layer in release.layers:
        shutil.copyfile(pack(layer, cache / "packed"), target / "layers" / f"{layer.name}.tar.gz")
    packed = pack(release.folder, cache / "packed")
    shutil.copyfile(packed, target / "releases" / f"{release.name}.tar.gz")
    (target / "device.py").write_text(program(), encoding="utf-8")
    values = {
        "{machine}": platform.machine,
        "{version}": platform.python,
        "{python}": "/usr/bin/python3",
        "{base}": shlex.quote(base),
        "{release}": release.name,
    }
    text = _INSTALL
    for key, value in values.items():
        text = text.replace(key, value)
    (target / "install.sh").write_text(text, encoding="utf-8")


def write_tar(target: Path, folder: Path) -> None:
    """Write a carried folder as one tar file, the same bytes for the same content; a file in its place is replaced.

    Raises:
        OSError: It cannot be written; the file in its place stays.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with replacing(target, part), tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = archive.gettarinfo(path, f"siamedge/{path.relative_to(folder).as_posix()}")
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)
