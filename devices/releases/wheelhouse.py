"""Wheels for exactly one kind of device, resolved and fetched here by pip, unpacked here; the device needs no pip."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from siamedge.devices.libraries import LIBRARIES
from siamedge.devices.releases.layers import Layer, one_at_a_time, seal, sealed, sha256_of
from siamedge.runtime.errors import DeviceError

_OLDEST_MANYLINUX_MINOR = 17
_FETCH_TIMEOUT_S = 1800


class Platform(NamedTuple):
    """What wheels must fit.

    Attributes:
        python: "3.11".
        machine: "aarch64" or "x86_64".
        glibc: (2, 36).
    """

    python: str
    machine: str
    glibc: tuple[int, int]

    def pip_options(self) -> list[str]:
        """Options of `pip download` that let it take these wheels and no others."""
        minors = range(self.glibc[1], _OLDEST_MANYLINUX_MINOR - 1, -1)
        platforms = [*(f"manylinux_2_{minor}_{self.machine}" for minor in minors), f"manylinux2014_{self.machine}"]
        abis = (f"cp{self.python.replace('.', '')}", "abi3", "none")
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"]
        return [*options, *(f"--platform={name}" for name in platforms), *(f"--abi={abi}" for abi in abis)]


def requirements(backends: Sequence[str], more: Sequence[str] = ()) -> tuple[str, ...]:
    """What the device side requires with these backends and more extras, as siamedge's metadata says."""
    extras = {*more, *(LIBRARIES[name].extra for name in backends)}
    found = []
    for line in metadata.requires("siamedge") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if extra is None or extra[1] in extras:
            found.append(requirement.strip())
    return tuple(sorted(found))


def site_layer(platform: Platform, wanted: Sequence[str], cache: Path, wheels: Path | None = None) -> Layer:
    """The unpacked wheels for a platform; fetched and unpacked once, then taken from the cache.

    Wheels of a folder are known by their content: other ones there are unpacked again.

    Args:
        platform: Of the device.
        wanted: Requirements.
        cache: Folder of all that can be made again.
        wheels: Folder of wheels to use instead of the network.

    Raises:
        DeviceError: pip finds no fitting wheel or cannot be run, or the folder is missing.
    """
    key = hashlib.sha256(json.dumps([platform, wanted, _contents(wheels)]).encode()).hexdigest()[:16]
    folder = cache / "site" / key
    if found := sealed(folder, "site"):
        return found
    with one_at_a_time(folder.parent), tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{key}.") as work:
        if found := sealed(folder, "site"):
            return found
        part = Path(work)
        (part / "wheels").mkdir()
        _download(platform, wanted, part / "wheels", wheels)
        for wheel in sorted((part / "wheels").glob("*.whl")):
            unpack_wheel(wheel, part / "site")
        layer = seal(part / "site", "site")
        shutil.rmtree(folder, ignore_errors=True)
        layer.folder.rename(folder)
    return layer._replace(folder=folder)


def _contents(wheels: Path | None) -> list[tuple[str, str]] | None:
    if wheels is None:
        return None
    if not wheels.is_dir():
        raise DeviceError(f"{wheels}: no such folder", hint="--wheels DIR names a folder of wheels")
    return [(wheel.name, sha256_of(wheel)) for wheel in sorted(wheels.glob("*.whl"))]


def _download(platform: Platform, wanted: Sequence[str], target: Path, wheels: Path | None) -> None:
    offline = ("--no-index", f"--find-links={wheels}") if wheels else ()
    options = [*platform.pip_options(), *offline, f"--dest={target}", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_TIMEOUT_S)
    if "No module named pip" in done.stderr:
        hint = f"{sys.executable} -m ensurepip, or --no-wheels"
        raise DeviceError("pip is not installed here, which fetches the wheels of a device", hint=hint)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        what = f"Python {platform.python}, {platform.machine}, glibc {'.'.join(map(str, platform.glibc))}"
        raise DeviceError(
            f"no wheels for {what}: {errors[-1] if errors else 'pip failed'}",
            hint="fewer --backends, a newer system there, or --wheels DIR with wheels of your own",
        )


def unpack_wheel(wheel: Path, site: Path) -> None:
    """Unpack a wheel's importable files; scripts and headers are left out.

    Raises:
        DeviceError: It has a path that leaves it.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = _place(PurePosixPath(member.filename))
            if ".." in path.parts or path.is_absolute():
                raise DeviceError(f"{wheel.name} has {member.filename!r}", hint="do not use this wheel")
            if member.is_dir() or not path.parts:
                continue
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, (site / path).open("wb") as out:
                shutil.copyfileobj(source, out)


def _place(path: PurePosixPath) -> PurePosixPath:
    """Where a member goes: NAME.data/purelib and platlib into the root, the rest of NAME.data nowhere."""
    if not path.parts or not path.parts[0].endswith(".data"):
        return path
    return PurePosixPath(*path.parts[2:]) if path.parts[1:2] in (("purelib",), ("platlib",)) else PurePosixPath()
