"""Order, bounds and stopping of a roll-out, and what an inventory file may say."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from siamedge.devices.flashing.ansible_inventory import read_hosts
from siamedge.devices.flashing.fleet import Member, Result, read_inventory, roll_out
from siamedge.runtime.errors import DeviceError

MEMBERS = tuple(Member(f"ssh://pi@d{index}", canary=index == 3) for index in range(8))


def test_canary_first_then_bounded_and_in_order_of_the_inventory() -> None:
    begun: list[str] = []
    running, most = [0], [0]
    guard, full = threading.Lock(), threading.Event()

    def flash(member: Member) -> tuple[Result, str]:
        with guard:
            begun.append(member.target)
            running[0] += 1
            most[0] = max(most[0], running[0])
        if running[0] == 3:
            full.set()
        assert member.canary or full.wait(60)
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


def test_a_fault_of_this_machine_is_that_of_one_device() -> None:
    def flash(member: Member) -> tuple[Result, str]:
        if member.target == "ssh://pi@d1":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "done", ""

    outcomes = roll_out(MEMBERS, flash, parallel=1)
    assert [outcome.result for outcome in outcomes[:4]] == ["done", "failed", "not tried", "done"]
    assert outcomes[1].detail.endswith("No space left on device")


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
        ("[[device]]\ntarget = 'ssh://pi@a'\nbackends = ['tflite']\n", "site.toml: backends is a list, not a text"),
        ("[defaults]\ncanary = 'no'\n", "site.toml: canary is a str, not true or false"),
        ("", "site.toml: 0 of 0 devices have a target"),
        ("[", "site.toml cannot be read: "),
        ("device = 3\n", "site.toml: device is no list of [[device]] tables"),
        ("[device]\ntarget = 'ssh://pi@a'\n", "site.toml: device is no list of [[device]] tables"),
        ("device = ['ssh://pi@a']\n", "site.toml: device is no list of [[device]] tables"),
        ("defaults = 3\n", "site.toml: defaults is no [defaults] table"),
        (
            "[[device]]\ntarget = 'ssh://a'\n[[device]]\ntarget = 'ssh://a'\nrun = ''\n",
            "site.toml: ssh://a is named twice",
        ),
    ],
)
def test_bad_inventories_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(DeviceError) as caught:
        read_inventory(path)
    assert str(caught.value).startswith(message)


INI = """
lone ansible_host=10.0.0.9

[cameras]
cam[01:02] siamedge_run="--source 0 --init '1,2,3,4'"   # two of them
gate ansible_port=2222 ansible_user=root siamedge_canary=true

[cameras:vars]
ansible_user = pi
siamedge_backends = tflite

[site:children]
cameras

[site:vars]
ansible_user=nobody
ansible_port=22
"""
YAML = """
all:
  vars: {ansible_user: nobody}
  children:
    site:
      vars: {ansible_port: 22}
      children:
        cameras:
          hosts:
            cam[01:02]: {siamedge_run: "--source 0 --init '1,2,3,4'"}
            gate: {ansible_port: 2222, ansible_user: root, siamedge_canary: true}
          vars: {ansible_user: pi, siamedge_backends: tflite}
  hosts:
    lone: {ansible_host: 10.0.0.9}
"""
RUN = "--source 0 --init '1,2,3,4'"


@pytest.mark.parametrize(("name", "text"), [("hosts", INI), ("site.ini", INI), ("site.yml", YAML)])
def test_ansible_inventory(tmp_path: Path, name: str, text: str) -> None:
    if name.endswith(".yml"):
        pytest.importorskip("yaml")
    path = tmp_path / name
    path.write_text(text)
    lone = "ssh://nobody@10.0.0.9" if name.endswith(".yml") else "ssh://10.0.0.9"
    assert set(read_inventory(path)) == {
        Member(lone),
        Member("ssh://pi@cam01:22", RUN, "tflite"),
        Member("ssh://pi@cam02:22", RUN, "tflite"),
        Member("ssh://root@gate:2222", "", "tflite", canary=True),
    }


EVERY = """
lone
outer ansible_user=own

[cams]
cam1 ansible_host=127.0.0.1
outer

[all:vars]
ansible_user=pi
ansible_port=1
siamedge_run="--source 0"

[ungrouped:vars]
ansible_port=2

[cams:vars]
ansible_port=3
"""
LEVELS = """
all:
  hosts: {lone: }
  vars: {ansible_user: pi, ansible_port: 1}
  children:
    zoo: {hosts: {gate: }, vars: {ansible_port: 2}}
ungrouped: {vars: {siamedge_run: alone}}
aviary:
  hosts: {gate: }
  vars: {ansible_port: 3, siamedge_canary: true}
"""


def test_all_and_ungrouped_hold_without_being_named(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(EVERY)
    assert set(read_inventory(path)) == {
        Member("ssh://pi@lone:2", "--source 0"),
        Member("ssh://pi@127.0.0.1:3", "--source 0"),
        Member("ssh://own@outer:3", "--source 0"),
    }


@pytest.mark.parametrize(
    ("name", "text"), [("hosts", INI), ("site.yml", YAML), ("every", EVERY), ("levels.yml", LEVELS)]
)
def test_ansible_reads_the_same(tmp_path: Path, name: str, text: str) -> None:
    program = shutil.which("ansible-inventory", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("ansible-core is not installed")
    path = tmp_path / name
    path.write_text(text)
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8"}
    command = [program, "-i", str(path), "--list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert json.loads(listed)["_meta"]["hostvars"] == read_hosts(path)


def test_ipv6_and_hosts_that_are_not_reached_by_ssh(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("a ansible_host=fe80::1 ansible_port=23\n")
    assert read_inventory(path)[0].target == "ssh://[fe80::1]:23"
    path.write_text("a ansible_connection=docker\n")
    with pytest.raises(DeviceError, match=r"^hosts: a has ansible_connection=docker, ssh needed$"):
        read_inventory(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hosts", "[a\nx y", "hosts, line 1: '[a' is not understood"),
        ("hosts", "[a:b]\n", "hosts, line 1: '[a:b]' is not understood"),
        ("hosts", "a b c\n", "hosts, line 1: 'a b c' is not understood"),
        ("hosts", "cam[ab:cd]\n", "hosts, line 1: 'cam[ab:cd]' is not understood"),
        ("hosts", "[caf\udce9]\na\n", "hosts cannot be read: "),
        ("hosts", "[a:children]\nb\n[b:children]\na\n", "hosts: group a is part of itself"),
        ("hosts", "# nothing\n", "hosts: no hosts"),
        ("x.yml", "- a\n- b\n", "x.yml is no Ansible inventory"),
        ("x.yml", "a: [b\n", "x.yml is no YAML: "),
    ],
)
def test_bad_ansible_inventories_are_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    if name.endswith(".yml"):
        pytest.importorskip("yaml")
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DeviceError) as caught:
        read_inventory(path)
    assert str(caught.value).startswith(message)
