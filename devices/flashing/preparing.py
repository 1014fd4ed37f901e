"""From a bundle and a device to a release that fits it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.profiles import DeviceProfile
from siamedge.devices.connection.client import Remote, Scope
from siamedge.devices.connection.transport import Transport
from siamedge.devices.diagnosis.diagnosing import record
from siamedge.devices.diagnosis.system import clock_findings
from siamedge.devices.flashing.preflight import Fit, fit
from siamedge.devices.on_device.units import UNIT
from siamedge.devices.releases.layers import Layer
from siamedge.devices.releases.needs import extras_of, groups_of
from siamedge.devices.releases.release import Release, bundle_layer, code_layer, device_settings, launchers, tie, tuning
from siamedge.devices.releases.unit import ServiceOptions, unit_text
from siamedge.devices.releases.wheelhouse import Platform, requirements, site_layer
from siamedge.runtime.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class FlashOptions:
    """What the user wants of a flash.

    Attributes:
        track: Arguments of `siamedge track` for the service; none: nothing is started.
        backends: Libraries to install; none: those of the profile.
        scope: Where the service runs.
        wheels: Folder of wheels to use instead of the network.
        send_wheels: False: the device's own packages are used.
    """

    track: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    scope: Scope = "system"
    wheels: Path | None = None
    send_wheels: bool = True


class Prepared(NamedTuple):
    """A device that was looked at, and the release for it.

    Attributes:
        device: What it has.
        found: How it fits.
        remote: To talk to it.
        release: For it.
        notes: What the user should know.
    """

    device: Capabilities
    found: Fit
    remote: Remote
    release: Release
    notes: tuple[str, ...]


class Parts(NamedTuple):
    """What a release is made from.

    Attributes:
        bundle: Verified or not.
        found: How the device fits.
        platform: For the wheels.
        groups: That exist there and that the service needs.
    """

    bundle: Path
    found: Fit
    platform: Platform
    groups: tuple[str, ...]


def prepare(transport: Transport, bundle: Path, options: FlashOptions, cache: Path, work: Path) -> Prepared:
    """Look at a device and make the release for it; changes nothing there.

    Args:
        transport: The way to it.
        bundle: To be flashed.
        options: See FlashOptions.
        cache: Folder of all that can be made again.
        work: Empty folder for the release.

    Raises:
        BundleError: The bundle is damaged.
        DeviceError: The device cannot take it, or no wheels fit it.
    """
    formats = bundle_formats(bundle)
    device = record(transport, "~" if options.scope == "user" else "/opt/siamedge")
    found = fit(device, transport.name, formats, options.backends, options.scope)
    platform = Platform(found.python.tag, device.machine, device.libc_version)
    groups = tuple(group for group in groups_of(options.track, found.profile) if group in device.known_groups)
    release = make_release(Parts(bundle, found, platform, groups), options, cache, work)
    remote = Remote(transport, found.python.path, found.base, found.scope, found.sudo)
    clock = tuple(f"{f.subject}: {f.message}; {f.fix}" for f in clock_findings(device, time.time()) if f.fix)
    return Prepared(device, found, remote, release, (*found.notes, *clock))


def bundle_formats(bundle: Path) -> tuple[str, ...]:
    """Model formats of a bundle, each once.

    Raises:
        BundleError: It is damaged.
    """
    return tuple(dict.fromkeys(artifact.format for artifact in Bundle.open(bundle).manifest.artifacts))


def make_release(parts: Parts, options: FlashOptions, cache: Path, work: Path) -> Release:
    """Make the release of a bundle for a platform.

    Raises:
        BundleError: The bundle is damaged.
        DeviceError: No wheels fit.
    """
    bundle, found, platform, groups = parts
    layers: list[Layer] = [bundle_layer(bundle, work / "bundle"), code_layer(work / "code")]
    if options.send_wheels:
        layers.append(
            site_layer(platform, requirements(found.backends, extras_of(options.track)), cache, options.wheels)
        )
    files = {
        **launchers(found.python.path),
        "device.json": device_settings(found.profile.name, found.choices, found.profile.threads),
    }
    if options.track and found.scope != "none":
        files[UNIT] = unit_text(found.base, _service(options, groups, found.profile), found.scope)
        files |= tuning(options.track)
    return tie(layers, files, work / "release")


def _service(options: FlashOptions, groups: tuple[str, ...], profile: DeviceProfile) -> ServiceOptions:
    return ServiceOptions(options.track, groups, profile.family)


def cache_folder() -> Path:
    """Where wheels and packed layers are kept; it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "siamedge"
