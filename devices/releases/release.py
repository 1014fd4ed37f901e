"""A release: layers of content, and a small folder that ties them together on a device."""

import json
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from siamedge.devices.boards.profiles import Choice
from siamedge.devices.on_device.units import UNIT
from siamedge.devices.releases.layers import Layer, seal
from siamedge.runtime.bundles.bundle import Bundle

_PACKAGES = ("runtime", "devices", "cli")
_SIGNATURE = "manifest.json.sig"
_PYTHON = """#!/bin/sh
# The device's Python with the packages of this release.
here=$(dirname "$(readlink -f "$0")")
PYTHONPATH="$here/code:$here/site"
PYTHONNOUSERSITE=1
export PYTHONPATH PYTHONNOUSERSITE
if [ -z "$PYTHONPYCACHEPREFIX" ]; then
    PYTHONDONTWRITEBYTECODE=1
    export PYTHONDONTWRITEBYTECODE
fi
exec {python} "$@"
"""
_SIAMEDGE = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/python" -c 'from siamedge.cli.main import main; main()' "$@"
"""
_CHECK = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/python" -m siamedge.devices.on_device.check "$here/bundle" "$here/device.json"
"""
_TUNE = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/siamedge" tune "$here/bundle" --device {device} --rounds 3 --json
"""
TUNE = "tune"


@dataclass(frozen=True, slots=True)
class Release:
    """All that a flash puts on a device.

    Attributes:
        folder: The release itself, sealed.
        layers: What it links to.
    """

    folder: Layer
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """release-hash: equal content on equal devices gives equal names."""
        return self.folder.name

    @property
    def has_service(self) -> bool:
        """Whether it brings a systemd unit."""
        return (self.folder.folder / UNIT).is_file()

    @property
    def is_tuned(self) -> bool:
        """Whether it is measured on the device before it is switched on."""
        return (self.folder.folder / TUNE).is_file()


def tie(layers: Sequence[Layer], files: Mapping[str, str], target: Path) -> Release:
    """Make a release of layers and a few files.

    Args:
        layers: Sealed; at most one of a kind.
        files: Name to text; those that start with #! become executable.
        target: New folder.
    """
    target.mkdir(parents=True)
    lines = "".join(f"{layer.kind} {layer.name}\n" for layer in layers)
    for name, text in {**files, "layers": lines}.items():
        (target / name).write_text(text, encoding="utf-8")
        (target / name).chmod(0o755 if text.startswith("#!") else 0o644)
    return Release(seal(target, "release"), tuple(layers))


def launchers(python: str) -> dict[str, str]:
    """The programs of a release: its Python, the siamedge command, the health check."""
    return {"python": _PYTHON.replace("{python}", shlex.quote(python)), "siamedge": _SIAMEDGE, "check": _CHECK}


def tuning(track: Sequence[str]) -> dict[str, str]:
    """The program that tunes a release on its device; none if the arguments of `siamedge track` leave no choice.

    Args:
        track: Such as ("--source", "0", "--device", "NPU").
    """
    words = [word for argument in track for word in argument.split("=", 1)] if track else []
    if not track or any(word in words for word in ("--backend", "--precision", "--threads", "--opencv-models")):
        return {}
    device = words[words.index("--device") + 1] if "--device" in words[:-1] else "CPU"
    return {TUNE: _TUNE.replace("{device}", shlex.quote(device))}


def device_settings(profile: str, backends: Sequence[Choice], threads: int) -> str:
    """device.json: what the profile says, for the programs of the release."""
    return json.dumps({"backends": backends, "profile": profile, "threads": threads}, sort_keys=True) + "\n"


def code_layer(target: Path) -> Layer:
    """The device side of this siamedge: runtime, devices, cli, and the metadata that gives its version."""
    for name in _PACKAGES:
        source = Path(import_module(f"siamedge.{name}").__path__[0])
        shutil.copytree(source, target / "siamedge" / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    version = metadata.version("siamedge")
    (target / f"siamedge-{version}.dist-info").mkdir()
    text = f"Metadata-Version: 2.1\nName: siamedge\nVersion: {version}\n"
    (target / f"siamedge-{version}.dist-info/METADATA").write_text(text, encoding="utf-8")
    return seal(target, "code")


def bundle_layer(bundle: Path, target: Path) -> Layer:
    """A verified bundle as a folder, with nothing but its own files and its signature.

    Raises:
        BundleError: It is damaged.
    """
    opened = Bundle.open(bundle)
    names = ["manifest.json", *(entry.path for entry in opened.manifest.files)]
    with tempfile.TemporaryDirectory() as unpacked:
        folder = _as_folder(bundle, Path(unpacked))
        if (folder / _SIGNATURE).is_file():
            names.append(_SIGNATURE)
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)
    Bundle.open(target)
    return seal(target, "bundle")


def _as_folder(bundle: Path, target: Path) -> Path:
    if bundle.is_dir():
        return bundle
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(target)
    return target
