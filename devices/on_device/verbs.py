"""The device's side of a flash. It needs Python 3.10 and nothing else, and stays on no device.

It is sent along with each command: `python3 -IS -c PROGRAM VERB BASE ...`. Everything that it keeps lies under BASE:
layers/KIND-HASH (content, never changed), releases/HASH (links to layers, launcher, unit), `current` and `previous`
(links, switched by rename), incoming/ (what is not yet verified), tuned/BUNDLE (what was measured here),
keys/allowed_signers (enrolled keys). The hash in a name is that of the SHA256SUMS file inside, so a folder is either
exactly what its name says or it is refused.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from siamedge.devices.on_device.files import check, unpack
from siamedge.devices.on_device.tuning import TUNED, measure
from siamedge.devices.on_device.units import UNIT, RefusedError, journal, properties, start, stop

NAMESPACE = "siamedge-bundle"
CHECK_LIMIT_S = 600
REFUSED = 20
BUSY = 21


def hold(base: Path) -> None:
    """Keep the lock against a second flash until the other side closes the connection.

    Raises:
        BlockingIOError: Somebody else has it.
    """
    with _locked(base):
        say({"held": True})
        sys.stdin.buffer.read()


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def install(base: Path, folder: str, release: str, scope: str, settle_s: str) -> None:
    """Install a release from files that were carried here: folder/layers/*.tar.gz and folder/releases/*.tar.gz.

    Raises:
        BlockingIOError: A flash is under way.
        RefusedError: It is damaged or does not run here; what ran before still runs.
    """
    with _locked(base):
        begin(base)
        for kind in ("layers", "releases"):
            for packed in sorted(Path(folder, kind).glob("*.tar.gz")):
                with packed.open("rb") as stream:
                    store(base, kind, packed.name.removesuffix(".tar.gz"), stream)
        verify(base, release)
        tune(base, release)
        activate(base, release, scope, settle_s)


def begin(base: Path) -> None:
    """Make the folders, drop what an earlier flash left unfinished, and tell what is there."""
    for name in ("layers", "releases"):
        (base / name).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(base / "incoming", ignore_errors=True)
    state(base)


def state(base: Path, scope: str = "none") -> None:
    """Tell what is there, and how its service is."""
    say(
        {
            "layers": _names(base / "layers"),
            "releases": _names(base / "releases"),
            "current": _pointed(base, "current"),
            "previous": _pointed(base, "previous"),
            "service": properties(scope),
        }
    )


def receive(base: Path, kind: str, name: str) -> None:
    """Take a layer or release from standard input; see store."""
    store(base, kind, name, sys.stdin.buffer)
    say({"received": name})


def store(base: Path, kind: str, name: str, stream: BinaryIO) -> None:
    """Unpack a layer or release, verify it, then give it its name at once.

    Args:
        base: See above.
        kind: "layers" or "releases".
        name: Ends in the hash of its SHA256SUMS.
        stream: A tar.gz.

    Raises:
        RefusedError: It is damaged, incomplete, or names a layer that is not here.
    """
    incoming = base / "incoming" / f"{name}.{os.getpid()}"
    incoming.mkdir(parents=True)
    try:
        unpack(stream, incoming)
        check(incoming, name)
        if kind == "releases":
            _link_layers(base, incoming)
        _settle(incoming, base / kind / name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        with suppress(OSError):
            incoming.parent.rmdir()


def verify(base: Path, release: str) -> None:
    """Check a release, its layers, the signature once keys are enrolled, and that it runs a model here.

    Raises:
        RefusedError: It fails one of them.
    """
    folder = _release(base, release)
    check(folder, release)
    for layer in _layers(folder).values():
        check(base / "layers" / layer, layer)
    _check_signature(base, folder / "bundle")
    done = _run_check(folder / "check")
    if done.returncode:
        last = (done.stderr.strip() or f"check ended with status {done.returncode}").splitlines()[-1]
        raise RefusedError(f"release {release} does not run here: {last}")
    say({"verified": release, "check": done.stdout.strip()})


def _run_check(program: Path) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as home:  # some libraries leave files in the home folder
        inside = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home}
        try:
            return subprocess.run(
                [str(program)], capture_output=True, text=True, check=False, timeout=CHECK_LIMIT_S, env=inside
            )
        except subprocess.TimeoutExpired as error:
            raise RefusedError(f"the health check did not end within {CHECK_LIMIT_S} s") from error


def _check_signature(base: Path, bundle: Path) -> None:
    keys = base / "keys" / "allowed_signers"
    if not keys.is_file():
        return
    manifest, signature = bundle / "manifest.json", bundle / "manifest.json.sig"
    if not signature.is_file():
        raise RefusedError("this device has enrolled keys and the bundle is not signed")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(keys), "-I", "siamedge", "-n", NAMESPACE, "-s", str(signature)]
    done = subprocess.run(command, input=manifest.read_bytes(), capture_output=True, check=False, timeout=30)
    if done.returncode:
        raise RefusedError("the bundle's signature is not by a key that this device has enrolled")


def tune(base: Path, release: str) -> None:
    """Measure which way to run the release's bundle is the fastest here; not knowing it is no reason to stop."""
    folder = _release(base, release)
    say(measure(base, folder, _layers(folder)))


def activate(base: Path, release: str, scope: str, settle_s: str) -> None:
    """Switch to a release and start it; if it does not come up healthy, switch back and start the old one.

    A broken connection does not stop this: it ends in one of the two states by itself.

    Raises:
        RefusedError: It was not healthy; the old release runs again.
    """
    _release(base, release)
    with _switching(base):
        before = _pointed(base, "current")
        os.sync()
        _point(base, "current", release)
        try:
            start(_release(base, release) / UNIT, scope, float(settle_s))
        except (RefusedError, OSError) as error:
            raise RefusedError(f"release {release} {error}; {_back(base, before, scope)}") from error
        if before and before != release:
            _point(base, "previous", before)
    say({"active": release, "previous": _pointed(base, "previous")})


def _back(base: Path, before: str, scope: str) -> str:
    if not before:
        stop(scope)
        (base / "current").unlink()
        return "there was none before it, so nothing runs"
    _point(base, "current", before)
    unit = _release(base, before) / UNIT
    start(unit, scope, 0.0)
    return f"release {before} {'runs' if unit.is_file() else 'is on'} again"


def rollback(base: Path, scope: str, settle_s: str) -> None:
    """Verify the release before the current one again, and activate it.

    Raises:
        RefusedError: There is none, it does not verify, or it is not healthy.
    """
    before = _pointed(base, "previous")
    if not before:
        raise RefusedError("there is no release to go back to")
    verify(base, before)
    activate(base, before, scope, settle_s)


def uninstall(base: Path, scope: str) -> None:
    """Stop the service and remove everything that siamedge put on the device."""
    stop(scope)
    shutil.rmtree(base)
    say({"removed": str(base)})


def collect(base: Path, keep: str) -> None:
    """Remove releases but the current, the previous and the newest `keep` others, then layers that none uses."""
    linked = {_pointed(base, "current"), _pointed(base, "previous")}
    others = [path for path in (base / "releases").iterdir() if path.name not in linked]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in others[int(keep) :]:
        shutil.rmtree(folder)
    used = {layer for name in _names(base / "releases") for layer in _layers(base / "releases" / name).values()}
    unused = [name for name in _names(base / "layers") if name not in used]
    for name in unused:
        shutil.rmtree(base / "layers" / name)
        shutil.rmtree(base / TUNED / name, ignore_errors=True)
    say({"kept": _names(base / "releases"), "removed_layers": unused})


def tidy(base: Path, keep: str) -> None:
    """Collect while no flash is under way.

    Raises:
        BlockingIOError: A flash is under way.
    """
    with _locked(base):
        collect(base, keep)


def status(base: Path, scope: str) -> None:
    """Tell which release is on and how its service is."""
    say({"release": _pointed(base, "current"), "previous": _pointed(base, "previous"), "service": properties(scope)})


def logs(base: Path, scope: str, lines: str) -> None:
    """Print the service's last lines."""
    sys.stdout.write(journal(scope, int(lines)))


def enroll(base: Path) -> None:
    """Take the enrolled keys (allowed_signers of OpenSSH) from standard input; empty input removes them."""
    keys = base / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    content = sys.stdin.buffer.read()
    part = keys / "part"
    part.write_bytes(content)
    part.replace(keys / "allowed_signers")
    if not content:
        shutil.rmtree(keys)
    say({"enrolled": len(content.splitlines())})


@contextmanager
def _switching(base: Path) -> Iterator[None]:
    """One switch at a time, also after the connection that asked for it broke."""
    with (base / "switch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _point(base: Path, link: str, release: str) -> None:
    part = base / f".{link}.{os.getpid()}"
    part.unlink(missing_ok=True)
    part.symlink_to(f"releases/{release}")
    part.replace(base / link)


def _pointed(base: Path, link: str) -> str:
    path = base / link
    return path.readlink().name if path.is_symlink() else ""


def _release(base: Path, release: str) -> Path:
    folder = base / "releases" / release
    if not release or not folder.is_dir():
        raise RefusedError(f"release {release!r} is not on this device")
    return folder


def _layers(release: Path) -> dict[str, str]:
    lines = (release / "layers").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def _link_layers(base: Path, release: Path) -> None:
    for kind, layer in _layers(release).items():
        if not (base / "layers" / layer).is_dir():
            raise RefusedError(f"layer {layer} is not on this device")
        (release / kind).symlink_to(f"../../layers/{layer}")


def _settle(incoming: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.sync()
    incoming.rename(target)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def say(answer: Mapping[str, Any]) -> None:
    """Answer in one line; whoever asked may be gone."""
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer, sort_keys=True) + "\n")
        sys.stdout.flush()


VERBS: Mapping[str, Callable[..., None]] = {
    "activate": activate,
    "begin": begin,
    "collect": collect,
    "enroll": enroll,
    "hold": hold,
    "install": install,
    "logs": logs,
    "receive": receive,
    "rollback": rollback,
    "state": state,
    "status": status,
    "tidy": tidy,
    "tune": tune,
    "uninstall": uninstall,
    "verify": verify,
}


def main(arguments: list[str]) -> int:
    """Do one verb; the reason of a refusal is the last line on standard error."""
    os.umask(0o022)
    try:
        VERBS[arguments[0]](Path(arguments[1]), *arguments[2:])
    except BlockingIOError:
        sys.stderr.write("another flash of this device is under way\n")
        return BUSY
    except RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
