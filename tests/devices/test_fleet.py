"""Order, bounds and stopping of a roll-out, and what an inventory file may say."""

import threading
import time
from pathlib import Path

import pytest

from siamedge.devices.fleet import Member, Result, read_inventory, roll_out
from siamedge.runtime.errors import DeviceError

MEMBERS = tuple(Member(f"ssh://pi@d{index}", canary=index == 3) for index in range(8))


def test_canary_first_then_bounded_and_in_order_of_the_inventory() -> None:
    begun: list[str] = []
    running, most = [0], [0]
    guard = threading.Lock()

    def flash(member: Member) -> tuple[Result, str]:
        with guard:
            begun.append(member.target)
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with guard:
            running[0] -= 1
        return "done", "release-1"

    outcomes = roll_out(MEMBERS, flash, parallel=3)
    assert begun[0] == "ssh://pi@d3"
    assert [outcome.member for outcome in outcomes] == list(MEMBERS)
    assert {outcome.result for outcome in outcomes} == {"done"}
    assert most[0] == 3


def failing(target: str) -> "tuple[list[str], object]":
    begun: list[str] = []

    def flash(member: Member) -> tuple[Result, str]:
        begun.append(member.target)
        if member.target == target:
            raise DeviceError("disk full")
        return "done", ""

    return begun, flash


def test_a_failed_canary_stops_everything() -> None:
    begun, flash = failing("ssh://pi@d3")
    outcomes = roll_out(MEMBERS, flash, parallel=4)  # type: ignore[arg-type]
    assert begun == ["ssh://pi@d3"]
    assert outcomes[3][1:] == ("failed", "disk full")
    assert [outcome.result for outcome in outcomes].count("not tried") == 7


def test_nothing_is_begun_after_a_failure() -> None:
    begun, flash = failing("ssh://pi@d1")
    outcomes = roll_out(MEMBERS, flash, parallel=1)  # type: ignore[arg-type]
    assert begun == ["ssh://pi@d3", "ssh://pi@d0", "ssh://pi@d1"]
    assert [outcome.result for outcome in outcomes[4:]] == ["not tried"] * 4


def test_inventory_with_defaults(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        '[defaults]\nrun = "--source 0"\n[[device]]\ntarget = "ssh://pi@a"\ncanary = true\n'
        '[[device]]\ntarget = "ssh://pi@b"\nrun = "--source 1"\n'
    )
    assert read_inventory(path) == (
        Member("ssh://pi@a", "--source 0", "", canary=True),
        Member("ssh://pi@b", "--source 1"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[device]]\ntargt = 1\n", "site.toml: unknown key 'targt'"),
        ("[[device]]\nrun = ''\n", "site.toml: 0 of 1 devices have a target"),
        ("", "site.toml: 0 of 0 devices have a target"),
        ("[", "site.toml cannot be read: "),
    ],
)
def test_bad_inventories_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(DeviceError) as caught:
        read_inventory(path)
    assert str(caught.value).startswith(message)
