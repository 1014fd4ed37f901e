"""The connection is cut at every step of a flash: before it, in its request, in its answer, in a transfer."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from loopback import CuttingProxy, LoopbackDevice
from releases import small_release

from siamedge.devices.connection.client import Remote
from siamedge.devices.connection.transport import Feed, SshTransport
from siamedge.devices.flashing.flash import apply, plan_flash
from siamedge.devices.on_device.files import check
from siamedge.devices.on_device.verbs import VERBS
from siamedge.runtime.errors import DeviceError

STEPS = ("state", "hold", "begin", "receive layer", "receive release", "verify", "activate", "collect")
CUTS = {
    "before": ("up", 1),
    "in the request": ("up", 6000),
    "at the first answer": ("down", 1),
    "in the answer": ("down", 100),
}
POINTS = [(step, cut) for step in STEPS for cut in CUTS] + [
    ("receive layer", f"after {count} bytes") for count in (30_000, 90_000, 150_000, 190_000)
]
"""36 points; a step's request is some 29 000 bytes."""


class WatchedTransport:
    """An ssh connection that tells the proxy to cut during one step."""

    def __init__(self, inner: SshTransport, proxy: CuttingProxy, step: str, cut: tuple[str, int]) -> None:
        self._inner, self._proxy, self._step, self._cut = inner, proxy, step, cut
        self._received = 0
        self.name = inner.name

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        self._arm(argv)
        return self._inner.run(argv, feed, timeout_s)

    def hold(self, argv: Sequence[str], ready: str) -> AbstractContextManager[None]:
        self._arm(argv)
        return self._inner.hold(argv, ready)

    def _arm(self, argv: Sequence[str]) -> None:
        verb = next(word for word in argv if word in VERBS)
        if verb == "receive":
            self._received += 1
            verb = "receive layer" if self._received == 1 else "receive release"
        if verb == self._step:
            self._proxy.cut_after(*self._cut)

    def __enter__(self) -> "WatchedTransport":
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(None, None, None)


def settled(device: LoopbackDevice) -> str:
    """The release that `current` names, once no command is left running on the device."""
    device.wait_for_commands()
    return (device.base / "current").readlink().name


def check_nothing_half_done(device: LoopbackDevice) -> None:
    """Every folder that has a name is exactly what its name says; the service is that of `current`."""
    for kind in ("layers", "releases"):
        for folder in (device.base / kind).iterdir():
            check(folder, folder.name)
    text = (device.base / "current/bundle/text").read_text()
    assert device.service_environment().strip().endswith(f" {text}")


@pytest.mark.slow
def test_cut_everywhere(device: LoopbackDevice, tmp_path: Path) -> None:
    proxy = device.proxy
    assert proxy is not None
    with device.transport() as ssh:
        first = small_release(tmp_path / "here", device.base, "r0", python=sys.executable)
        apply(plan_flash(device.remote(ssh), first), device.remote(ssh), tmp_path / "cache", settle_s=0)
    old, failures = first, 0
    for number, (step, when) in enumerate(POINTS, 1):
        new = small_release(tmp_path / "here", device.base, f"r{number}", python=sys.executable)
        cut = CUTS.get(when) or ("up", int(when.split()[1]))
        watched = WatchedTransport(device.transport(port=proxy.port), proxy, step, cut)
        failed = False
        try:
            with watched:
                remote = Remote(watched, sys.executable, str(device.base), "user")
                apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0)
        except DeviceError as error:
            failed = True
            assert "\n" not in str(error)
        proxy.heal()
        now = settled(device)
        switching = step in ("activate", "collect")
        allowed = {old.name, new.name} if failed and switching else {old.name if failed else new.name}
        assert now in allowed, (step, when)
        failures += failed
        assert proxy.cuts == number, (step, when)
        check_nothing_half_done(device)
        with device.transport() as ssh:
            remote = device.remote(ssh)
            apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0)
        assert settled(device) == new.name, (step, when)
        assert not (device.base / "incoming").exists()
        old = new
    assert failures >= 20, "OpenSSH connects again by itself when it is cut before a command; else the flash fails"
