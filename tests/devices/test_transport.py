"""What people write for a device, and what they are told when ssh does not get there."""

import pytest
from loopback import LoopbackDevice

from siamedge.devices.connection.transport import SshTarget, parse_ssh_target
from siamedge.runtime.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("ssh://garden", SshTarget("garden")),
        ("pi@garden", SshTarget("garden", "pi")),
        ("ssh://pi@garden:2222", SshTarget("garden", "pi", 2222)),
        ("ssh://özil@garden", SshTarget("garden", "özil")),
        ("ssh://pi@[fe80::1]:2222", SshTarget("fe80::1", "pi", 2222)),
        ("ssh://pi@[fe80::1%br-lan]", SshTarget("fe80::1%br-lan", "pi")),
        ("ssh://pi@[fe80::1%eth0.10]", SshTarget("fe80::1%eth0.10", "pi")),
    ],
)
def test_targets(text: str, target: SshTarget) -> None:
    assert parse_ssh_target(text) == target


@pytest.mark.parametrize("text", ["garden", "ssh://-oProxyCommand=x", "ssh://-l@garden", "ssh://pi@", "http://garden"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(DeviceError, match="is not understood"):
        parse_ssh_target(text)


def test_a_host_that_is_not_known_is_logged_into_once(device: LoopbackDevice) -> None:
    (device.root / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match="Host key verification failed") as caught, device.transport():
        pass
    assert caught.value.hint.startswith("log in once by `ssh`")
