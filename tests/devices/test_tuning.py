"""Tuning on the device during a flash: measured once, kept beside the releases, found by the service."""

import json
import os
import sys
from pathlib import Path

import pytest
from loopback import LoopbackDevice
from releases import small_release

from siamedge.devices.connection.client import Remote
from siamedge.devices.flashing.flash import apply, plan_flash, tuning_line
from siamedge.devices.on_device.service import take_tuning
from siamedge.devices.on_device.tuning import measure
from siamedge.devices.releases.release import Release, tuning

TRIALS = [
    {"backend": "tflite", "precision": "fp32", "device": "CPU", "threads": 1, "verdict": "measured"},
    {"backend": "onnxruntime", "precision": "int8", "device": "CPU", "threads": 2, "verdict": "chosen"},
]
RECORD = json.dumps({"trials": TRIALS, "reason": "3.00 ms, the fastest of 2"})
TUNE = f"""#!/bin/sh
mkdir -p "$SIAMEDGE_CACHE/tuning"
echo '{RECORD}' >"$SIAMEDGE_CACHE/tuning/abc-CPU.json"
echo once >>"$FAKE_ROOT/tuned-times"
"""


def release(folder: Path, device: LoopbackDevice, text: str, tune: str, **options: object) -> Release:
    return small_release(folder, device.base, text, python=sys.executable, tune=tune, size=1000, **options)  # type: ignore[arg-type]


def flash(remote: Remote, new: Release, tmp_path: Path) -> list[str]:
    told: list[str] = []
    apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0, keep=0, progress=told.append)
    return told


def test_measured_once_for_a_bundle_and_kept_with_it(device: LoopbackDevice, tmp_path: Path) -> None:
    one = release(tmp_path / "one", device, "a", TUNE)
    same_bundle = release(tmp_path / "two", device, "a", TUNE, check="#!/bin/sh\necho well\n")
    assert one.layers[0].name == same_bundle.layers[0].name
    assert one.name != same_bundle.name
    words = "tuned: onnxruntime int8 on CPU, threads 2: 3.00 ms, the fastest of 2"
    with device.transport() as ssh:
        remote = device.remote(ssh)
        assert "measure there which backend is the fastest" in plan_flash(remote, one).lines()
        assert words in flash(remote, one, tmp_path)
        assert words in flash(remote, same_bundle, tmp_path)
        kept = device.base / "tuned" / one.layers[0].name
        assert json.loads((kept / "abc-CPU.json").read_text()) == json.loads(RECORD)
        assert (device.root / "tuned-times").read_text() == "once\n"
        for text in "bcd":
            flash(remote, release(tmp_path / text, device, text, TUNE), tmp_path)
        assert not kept.exists()
        remote.call("uninstall", "user")
    assert [str(path) for path in device.home.rglob("*") if path.is_file()] == []


def test_another_kernel_or_other_libraries_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ROOT", str(tmp_path))
    (tmp_path / "tune").write_text(TUNE)
    (tmp_path / "tune").chmod(0o755)
    for site in ("site-1", "site-1", "site-2"):
        assert measure(tmp_path, tmp_path, {"bundle": "bundle-1", "site": site})["tuned"]
    assert (tmp_path / "tuned-times").read_text() == "once\n" * 2
    other = os.uname_result(("Linux", "garden", "6.12.0", "#1", "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: other)
    assert measure(tmp_path, tmp_path, {"bundle": "bundle-1", "site": "site-2"})["tuned"]
    assert (tmp_path / "tuned-times").read_text() == "once\n" * 3


def test_a_damaged_record_is_measured_again(device: LoopbackDevice, tmp_path: Path) -> None:
    one = release(tmp_path / "one", device, "a", TUNE)
    same_bundle = release(tmp_path / "two", device, "a", TUNE, check="#!/bin/sh\necho well\n")
    record = device.base / "tuned" / one.layers[0].name / "abc-CPU.json"
    with device.transport() as ssh:
        flash(device.remote(ssh), one, tmp_path)
        record.write_text("")  # as a power failure may leave it
        told = flash(device.remote(ssh), same_bundle, tmp_path)
        assert any(line.startswith("tuned: ") for line in told)
        assert json.loads(record.read_text()) == json.loads(RECORD)
        record.parent.parent.rename(device.base / "aside")
        record.parent.parent.write_text("in the way")
        told = flash(device.remote(ssh), release(tmp_path / "three", device, "b", TUNE), tmp_path)
        assert any(line.startswith("not tuned, ") for line in told)
    assert "b" in device.service_environment()


def test_a_failed_tuning_is_told_and_does_not_stop_the_flash(device: LoopbackDevice, tmp_path: Path) -> None:
    bad = release(tmp_path / "here", device, "a", "#!/bin/sh\necho 'nothing can be tuned here' >&2\nexit 1\n")
    with device.transport() as ssh:
        told = flash(device.remote(ssh), bad, tmp_path)
    line = "not tuned, the service runs what the bundle recommends: nothing can be tuned here"
    assert line in told
    assert (device.base / "current").readlink().name == bad.name
    assert "a" in device.service_environment()


def test_the_service_takes_the_record_unless_its_own_is_newer(tmp_path: Path) -> None:
    base, cache = tmp_path / "opt", tmp_path / "cache"
    for folder in ("layers/bundle-1", "tuned/bundle-1", "releases/r"):
        (base / folder).mkdir(parents=True)
    (base / "releases/r/bundle").symlink_to("../../layers/bundle-1")
    record = base / "tuned/bundle-1/abc-CPU.json"
    record.write_text("flashed")
    command = ["siamedge", "track", str(base / "releases/r/bundle"), "--source", "0"]
    take_tuning(command, cache)
    own = cache / "tuning/abc-CPU.json"
    assert own.read_text() == "flashed"
    own.write_text("own")
    os.utime(record, (1, 1))
    take_tuning(command, cache)
    assert own.read_text() == "own"
    os.utime(own, (0, 0))
    take_tuning(command, cache)
    assert own.read_text() == "flashed"
    take_tuning(["python"], cache)


@pytest.mark.parametrize("word", ["--backend", "--precision=int8", "--threads", "--opencv-models"])
def test_nothing_is_tuned_where_the_user_chose(word: str) -> None:
    assert tuning(("--source", "0", word, "2")) == {}
    assert tuning(()) == {}


def test_the_tuned_device_is_that_of_the_service() -> None:
    assert "--device CPU --rounds" in tuning(("--source", "0"))["tune"]
    assert "--device NPU --rounds" in tuning(("--source", "0", "--device", "NPU"))["tune"]
    assert "--device NPU --rounds" in tuning(("--device=NPU",))["tune"]


def test_without_a_result_the_reason_is_told() -> None:
    assert tuning_line({"tuned": "", "reason": "x"}) == "not tuned, the service runs what the bundle recommends: x"
