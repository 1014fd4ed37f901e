"""siamedge flash word for word, over real OpenSSH to a device on the loopback."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from commands import Shell
from loopback import LoopbackDevice
from tiny_bundle import tiny_bundle

from siamedge.cli.main import make_app
from siamedge.devices.flashing import fleet
from siamedge.runtime.errors import SiamedgeError

pytest.importorskip("onnxruntime")


def cpu_s() -> float:
    """What the programs started from here have computed so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_flash_again_rollback_uninstall(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    options = ("--user", "--no-wheels", "--backends", "onnxruntime")
    one, two = tiny_bundle(tmp_path, "one"), tiny_bundle(tmp_path, "two")

    planned = shell("flash", str(one), shell.target, *options, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "verify and run a model there" in planned.stdout
    assert not device.base.exists()

    first = shell("flash", str(one), shell.target, *options)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].endswith(f"is on at {device.user}@127.0.0.1:{device.port}")
    ran = json.loads(first.stderr.splitlines()[-1].removeprefix("health check: "))
    assert ran["ran"] == ["onnxruntime", "CPU", "fp32"]
    assert any("onnxruntime CPU int8" in reason for reason in ran["not"])

    before_s = cpu_s()
    again = shell("flash", str(one), shell.target, *options)
    assert "is on already; nothing to do" in again.stdout
    assert cpu_s() - before_s < 3, "measured: .45 s; time by the clock would depend on who else computes"
    release_one = (device.base / "current").readlink()

    refused = shell("flash", "--rollback", shell.target, "--user", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is no release to go back to" in refused.stderr
    assert shell("flash", str(two), shell.target, *options).returncode == 0
    release_two = (device.base / "current").readlink()
    assert release_two != release_one
    planned = shell("flash", "--rollback", shell.target, "--user", "--dry-run")
    assert planned.stdout == f"  switch to {release_one.name}, instead of {release_two.name}\n"
    assert (device.base / "current").readlink() == release_two
    assert shell("flash", "--rollback", shell.target, "--user").returncode == 0
    assert (device.base / "current").readlink() == release_one

    planned = shell("flash", "--uninstall", shell.target, "--user", "--dry-run")
    assert planned.stdout == f"  remove {device.base}, the service, its state and cache\n"
    assert device.base.is_dir()
    refused = shell("flash", "--rollback", shell.target)
    name = shell.target.removeprefix("ssh://")
    assert refused.stderr == (
        f"siamedge: {name}: siamedge is not installed there for the system, but for the user\n  try: add --user\n"
    )
    gone = shell("flash", "--uninstall", shell.target, "--user")
    assert gone.stdout == f"siamedge is removed from {device.user}@127.0.0.1:{device.port}\n"
    assert [str(path) for path in device.home.rglob("*") if path.is_file()] == []
    absent = shell("flash", "--rollback", shell.target)
    assert absent.returncode == 1
    assert "siamedge is not installed there" in absent.stderr


def test_damaged_bundle_is_refused_before_anything_is_sent(
    shell: Shell, device: LoopbackDevice, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path)
    model = bundle / "models/onnx-fp32/search.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = shell("flash", str(bundle), shell.target, "--user", "--no-wheels")
    assert done.returncode == 1
    assert done.stderr.startswith("siamedge: models/onnx-fp32/search.onnx: sha256 is ")
    assert not device.base.exists()


def test_wrong_use_is_told(shell: Shell, tmp_path: Path) -> None:
    assert shell("flash", shell.target).returncode == 2
    odd = shell("flash", str(tiny_bundle(tmp_path)), "/dev/sdb")
    assert odd.returncode == 1
    assert odd.stderr.startswith("siamedge: /dev/sdb is no target\n  try: raw devices are refused: a wrong")
    odd = shell("flash", str(tiny_bundle(tmp_path)), "usb:sdb")
    assert odd.returncode == 1
    assert "target 'usb:sdb' is not understood" in odd.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rollback", "ssh://x", "--run", "--source 0"), "--run does nothing with --rollback"),
        (("--uninstall", "ssh://x", "--settle-s", "5"), "--settle-s does nothing with --uninstall"),
        (("--uninstall", "ssh://x", "--inventory", "site.toml"), "--inventory does nothing with --uninstall"),
        (("b", "bundle:x.tar", "--board", "pi5", "--user"), "--user does nothing with card:, image: or bundle:"),
        (("b", "ssh://x", "--board", "pi5"), "--board does nothing with a device"),
        (("b", "--inventory", "site.toml", "--system", "trixie"), "--system does nothing with --inventory"),
    ],
)
def test_options_without_an_effect_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        make_app("flash")(["flash", *words], standalone_mode=False)
    assert caught.value.message == message


def test_doctor_over_ssh(shell: Shell, device: LoopbackDevice) -> None:
    done = shell("doctor", shell.target, "--json")
    report = json.loads(done.stdout)
    assert report["target"] == f"{device.user}@127.0.0.1:{device.port}"
    assert report["device"]["home"] == str(device.home)
    assert done.returncode == report["exit_code"]


def test_a_tar_for_a_board_that_is_not_here(shell: Shell, tmp_path: Path) -> None:
    bundle, tar = tiny_bundle(tmp_path), tmp_path / "site.tar"
    words = ("--board", "pi4", "--system", "bookworm", "--no-wheels", "--run", "--source 0")
    done = shell("flash", str(bundle), f"bundle:{tar}", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("tar -xf FILE.tar && sudo sh siamedge/install.sh")
    assert tar.is_file()
    missing = shell("flash", str(bundle), f"bundle:{tar}")
    assert missing.returncode == 2
    assert missing.stderr.startswith("siamedge: invalid value: card:, image: and bundle: need --board and --system")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_a_full_disk_is_told_and_keeps_no_piece_of_a_tar(tmp_path: Path) -> None:
    bundle, full, cache = tiny_bundle(tmp_path), tmp_path / "full", tmp_path / "cache"
    full.mkdir()
    siamedge = f'{sys.executable} -c "from siamedge.cli.main import main; main()"'
    words = "--board pi4 --system bookworm --no-wheels"
    lines = [
        f"mount -t tmpfs -o size=100k tmpfs {full}",
        f"echo before >{full}/site.tar",
        f"XDG_CACHE_HOME={cache} {siamedge} flash {bundle} bundle:{full}/site.tar {words} >/dev/null || echo $?",
        f"XDG_CACHE_HOME={full} {siamedge} flash {bundle} bundle:{tmp_path}/site.tar {words} >/dev/null || echo $?",
        f"cat {full}/site.tar; find {full} -name '*.part'",
    ]
    command = ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1", "1", "before"]
    told = [line for line in done.stderr.splitlines() if "cannot be written (No space left on device)" in line]
    assert [line.split(":")[1].strip() for line in told] == [f"{full}/site.tar", f"{full}/siamedge"]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "site.tar").exists()


ANOTHER_TAR = "choose another tar file, such as bundle:site.tar\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bundle:no/site.tar", f"no: no such folder\n  try: make it first, or {ANOTHER_TAR}"),
        ("bundle:.", f".: is a folder\n  try: {ANOTHER_TAR}"),
        ("card:no", "no has no cmdline.txt\n  try: name the mounted boot partition (bootfs) of the card\n"),
        ("image:no", "no is not an image file\n  try: raw devices are refused: a wrong letter erases a disk; "),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_wheels_are_fetched(
    shell: Shell, tmp_path: Path, target: str, message: str
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()  # there are none, which making a release would complain of
    words = ("--board", "pi4", "--system", "bookworm", "--wheels", str(wheels))
    refused = shell("flash", str(tiny_bundle(tmp_path)), target, *words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"siamedge: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('run = "--source \'x"', "site.toml: ssh://pi@gate: invalid value for '--run': \"--source 'x\": no closing"),
        ("run = '--sauce 0'", "site.toml: ssh://pi@gate: invalid value for '--run': '--sauce 0': no such option"),
        ("backends = 'tflight'", "site.toml: ssh://pi@gate: invalid value for '--backends': 'tflight' is unknown"),
        ("target = 'usb:gate'", "target 'usb:gate' is not understood"),
        ("", ""),
    ],
)
def test_what_is_wrong_with_an_inventory_or_its_bundle_is_told_before_a_device_is_asked(
    tmp_path: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(fleet, "roll_out", lambda *words: asked.append(words))
    site = "[[device]]\ntarget = 'ssh://pi@garden'\n[[device]]\n"
    (tmp_path / "site.toml").write_text(site + (line if "target" in line else f"target = 'ssh://pi@gate'\n{line}\n"))
    bundle = tiny_bundle(tmp_path) if line else tmp_path / "no.siamedge"
    for words in ((), ("--dry-run",)):
        with pytest.raises(SiamedgeError) as caught:
            make_app("flash")(
                ["flash", str(bundle), "--inventory", str(tmp_path / "site.toml"), *words], standalone_mode=False
            )
        assert str(caught.value).startswith(message or f"{bundle}: no such bundle")
    assert asked == []


def test_inventory_goes_on_where_it_stopped(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    bundle, inventory = tiny_bundle(tmp_path), tmp_path / "site.toml"
    reachable = f'[[device]]\ntarget = "{shell.target}"\ncanary = true\n'
    inventory.write_text(f'{reachable}[[device]]\ntarget = "ssh://{device.user}@127.0.0.1:1"\n')
    words = ("flash", str(bundle), "--inventory", str(inventory), "--user", "--no-wheels", "--backends", "onnxruntime")
    first = shell(*words)
    assert first.returncode == 1
    rows = [line.split()[1] for line in first.stdout.splitlines()[1:]]
    assert rows == ["done", "failed"]
    inventory.write_text(reachable)
    again = shell(*words)
    assert again.returncode == 0
    assert again.stdout.splitlines()[1].split()[1] == "unchanged"
