"""The systemd unit of the service."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from siamedge.devices.boards.profiles import Family
from siamedge.devices.releases.needs import serves_page, uses_network, uses_serial

_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
_WATCHDOG_S = 30
_START_S = 120
_UNIT = """[Unit]
Description=siamedge tracker
{network}StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
WatchdogSec={watchdog_s}
TimeoutStartSec={start_s}
TimeoutStopSec=10
Restart=on-failure
RestartSec=2
StateDirectory=siamedge
CacheDirectory=siamedge
WorkingDirectory=%S/siamedge
Environment=PYTHONPYCACHEPREFIX=%C/siamedge/pycache
Environment=HOME=%C/siamedge XDG_CACHE_HOME=%C/siamedge
{sandbox}{common}
[Install]
WantedBy={wanted_by}
"""
_WAIT_FOR_NETWORK = """Wants=network-online.target
After=network-online.target
"""
_COMMON = """NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
"""
_SYSTEM = """DynamicUser=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateTmp=yes
RemoveIPC=yes
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
"""
_DEVICES = """DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-drm rw
DeviceAllow=char-accel rw
"""
_SERIAL = """DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-ttyS rw
"""
_OFFLINE = """PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX
"""
_ONLINE = """RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How the service runs.

    Attributes:
        track: Arguments of `siamedge track` after the bundle.
        groups: Of the device, those that the camera and the accelerator need.
        family: Jetson's accelerator has many nodes, so its devices are not restricted.
    """

    track: tuple[str, ...]
    groups: tuple[str, ...]
    family: Family


def unit_text(base: str, options: ServiceOptions, scope: Literal["system", "user"]) -> str:
    """The unit file for a folder of releases.

    Args:
        base: Absolute folder on the device.
        options: See ServiceOptions.
        scope: A user's unit cannot have a user of its own, nor most of the sandbox.
    """
    current = f"{base}/current"
    lines = () if serves_page(options.track) else ("--json",)
    tracker = [f"{current}/siamedge", "track", f"{current}/bundle", *options.track, *lines]
    command = [f"{current}/python", "-m", "siamedge.devices.on_device.service", *tracker]
    return _UNIT.format(
        network=_WAIT_FOR_NETWORK if uses_network(options.track) and scope == "system" else "",
        command=_quoted(command),
        watchdog_s=_WATCHDOG_S,
        start_s=_START_S,
        sandbox=_sandbox(options) if scope == "system" else "",
        common=_COMMON,
        wanted_by="multi-user.target" if scope == "system" else "default.target",
    )


def _sandbox(options: ServiceOptions) -> str:
    groups = f"SupplementaryGroups={' '.join(options.groups)}\n" if options.groups else ""
    devices = "" if options.family == "jetson" else _DEVICES + (_SERIAL if uses_serial(options.track) else "")
    return groups + _SYSTEM + devices + (_ONLINE if uses_network(options.track) else _OFFLINE)


def _quoted(words: Sequence[str]) -> str:
    """A command line for systemd, which gives the program exactly these words.

    Source: systemd.syntax(7), Quoting; systemd.service(5), Command lines: % and $ are doubled.
    """
    return " ".join(word if _PLAIN.fullmatch(word) else f'"{_escaped(word)}"' for word in words)


def _escaped(word: str) -> str:
    doubled = word.translate({ord(sign): sign * 2 for sign in "\\%$"}).replace('"', '\\"')
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", doubled)
