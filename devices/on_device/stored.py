"""What is kept on the device: layers, releases that link to them, and the links that say which release is on.

All of it lies under one folder, here BASE: layers/KIND-HASH (content, never changed), releases/HASH (links to layers,
launcher, unit), `current` and `previous` (links, switched by rename), incoming/ (what is not yet verified). The hash in
a name is that of the SHA256SUMS file inside, so a folder is either exactly what its name says or it is refused.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from siamedge.devices.on_device.files import check, unpack
from siamedge.devices.on_device.tuning import TUNED
from siamedge.devices.on_device.units import RefusedError


def make_folders(base: Path) -> None:
    """Make the folders, and drop what an earlier flash left unfinished."""
    for name in ("layers", "releases"):
        (base / name).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(base / "incoming", ignore_errors=True)


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted; nothing where there is none."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def pointed(base: Path, link: str) -> str:
    """Name of the release that "current" or "previous" is, empty if none is."""
    path = base / link
    return path.readlink().name if path.is_symlink() else ""


def point(base: Path, link: str, release: str) -> None:
    """Let "current" or "previous" be a release, at once."""
    part = base / f".{link}.{os.getpid()}"
    part.unlink(missing_ok=True)
    part.symlink_to(f"releases/{release}")
    part.replace(base / link)


def find_release(base: Path, release: str) -> Path:
    """The folder of a release.

    Raises:
        RefusedError: It is not here.
    """
    folder = base / "releases" / release
    if not release or not folder.is_dir():
        raise RefusedError(f"release {release!r} is not on this device")
    return folder


def layers_of(release: Path) -> dict[str, str]:
    """Names of a release's layers, by kind."""
    lines = (release / "layers").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def store(base: Path, kind: str, name: str, stream: BinaryIO) -> None:
    """Unpack a layer or release, verify it, then give it its name at once.

    Args:
        base: See above.
        kind: "layers" or "releases".
        name: Ends in the hash of its SHA256SUMS.
        stream: A tar.gz.

    Raises:
        RefusedError: It is damaged, incomplete, or names a layer that is not here.
    """
    incoming = base / "incoming" / f"{name}.{os.getpid()}"
    incoming.mkdir(parents=True)
    try:
        unpack(stream, incoming)
        check(incoming, name)
        if kind == "releases":
            _link_layers(base, incoming)
        _settle(incoming, base / kind / name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        with suppress(OSError):
            incoming.parent.rmdir()


def _link_layers(base: Path, release: Path) -> None:
    for kind, layer in layers_of(release).items():
        if not (base / "layers" / layer).is_dir():
            raise RefusedError(f"layer {layer} is not on this device")
        (release / kind).symlink_to(f"../../layers/{layer}")


def _settle(incoming: Path, target: Path) -> None:
    os.sync()
    if not target.is_dir():
        incoming.rename(target)
        return
    before = incoming.with_name(f"{incoming.name}.before")
    target.rename(before)
    incoming.rename(target)
    shutil.rmtree(before)


def collect(base: Path, keep: int) -> Sequence[str]:
    """Remove old releases, then the layers that none uses.

    Args:
        base: See above.
        keep: How many of the newest stay besides the current and the previous one.

    Returns:
        Names of the removed layers.
    """
    linked = {pointed(base, "current"), pointed(base, "previous")}
    others = [path for path in (base / "releases").iterdir() if path.name not in linked]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in others[keep:]:
        shutil.rmtree(folder)
    used = {layer for name in names(base / "releases") for layer in layers_of(base / "releases" / name).values()}
    unused = [name for name in names(base / "layers") if name not in used]
    for name in unused:
        shutil.rmtree(base / "layers" / name)
        shutil.rmtree(base / TUNED / name, ignore_errors=True)
    return unused
