"""The device's side of tuning: which way to run a bundle is the fastest here, kept for the service by the releases."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TUNED = "tuned"
"""Folder of the records: tuned/BUNDLE-LAYER/NAME.json, as `siamedge tune` writes and `siamedge track` reads them."""
LIMIT_S = 180
_PROGRAM = "tune"
_STAMP = "stamp"


def measure(base: Path, release: Path, layers: Mapping[str, str]) -> Mapping[str, Any]:
    """Run the release's tuning unless its result is here already.

    Args:
        base: Folder of all that siamedge keeps here.
        release: To be tuned; without a program for it, nothing is done.
        layers: Of the release, by kind.

    Returns:
        "tuned": the choice in words, empty if there is none; "reason": of the choice, or why there is none.
    """
    program, target = release / _PROGRAM, base / TUNED / layers.get("bundle", "none")
    if not program.is_file():
        return {"tuned": "", "reason": "the release asks for none"}
    try:
        stamp = _stamp(program, layers)
        return _kept(target, stamp) or _measured(program, target, stamp)
    except OSError as error:
        return {"tuned": "", "reason": str(error)}


def _kept(target: Path, stamp: str) -> Mapping[str, Any] | None:
    """The choice of an earlier measurement, None if that was of something else or its record is damaged."""
    try:
        is_same = (target / _STAMP).read_text(encoding="utf-8") == stamp
        return _choice(target) if is_same else None
    except (OSError, ValueError, LookupError, StopIteration):
        return None


def _measured(program: Path, target: Path, stamp: str) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        inside = {**os.environ, "HOME": cache, "XDG_CACHE_HOME": cache, "SIAMEDGE_CACHE": cache}
        try:
            done = subprocess.run(
                [str(program)], capture_output=True, text=True, check=False, timeout=LIMIT_S, env=inside
            )
        except subprocess.TimeoutExpired:
            return {"tuned": "", "reason": f"it took more than {LIMIT_S} s"}
        if done.returncode or not any(Path(cache, "tuning").glob("*.json")):
            last = (done.stderr.strip() or f"tune ended with status {done.returncode}").splitlines()[-1]
            return {"tuned": "", "reason": last}
        _keep(Path(cache, "tuning"), target, stamp)
    return _choice(target)


def _stamp(program: Path, layers: Mapping[str, str]) -> str:
    """What a measurement depends on besides the bundle; siamedge compares the rest when it reads the record."""
    known = {
        "program": program.read_text(encoding="utf-8"),
        "site": layers.get("site", ""),
        "kernel": os.uname().release,
    }
    return json.dumps({**known, "processors": os.cpu_count()}, sort_keys=True)


def _keep(records: Path, target: Path, stamp: str) -> None:
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for record in records.glob("*.json"):
        shutil.copyfile(record, part / record.name)
        (part / record.name).chmod(0o644)
    (part / _STAMP).write_text(stamp, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def _choice(target: Path) -> Mapping[str, Any]:
    record = json.loads(next(target.glob("*.json")).read_text(encoding="utf-8"))
    chosen = next(trial for trial in record["trials"] if trial["verdict"] == "chosen")
    words = f"{chosen['backend']} {chosen['precision']} on {chosen['device']}, threads {chosen['threads']}"
    return {"tuned": words, "reason": record["reason"]}
