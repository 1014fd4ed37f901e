"""The device's side of a flash, as verbs. It needs Python 3.10 and nothing else, and stays on no device.

It is sent along with each command, with the modules that it needs: `python3 -IS -c PROGRAM VERB BASE ...`. Everything
that it keeps lies under BASE: layers and releases (stored.py), tuned/BUNDLE (what was measured here, tuning.py),
keys/allowed_signers (enrolled keys, verifying.py), and the files of two locks (locks.py).
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from siamedge.devices.on_device import stored, verifying
from siamedge.devices.on_device.files import is_whole
from siamedge.devices.on_device.locks import BusyError, flashing, switching
from siamedge.devices.on_device.stored import names, pointed
from siamedge.devices.on_device.switching import switch
from siamedge.devices.on_device.tuning import measure
from siamedge.devices.on_device.units import RefusedError, journal, properties, stop

HELD = '{"held": true}'
"""The line that says that the lock is held."""
REFUSED = 20
BUSY = 21


def hold(base: Path) -> None:
    """Keep the lock against a second flash until the other side closes the connection.

    Raises:
        BusyError: Somebody else has it.
    """
    with flashing(base):
        _print(HELD)
        sys.stdin.buffer.read()


def install(base: Path, folder: str, release: str, scope: str, settle_s: str) -> None:
    """Install a release from files that were carried here: folder/layers/*.tar.gz and folder/releases/*.tar.gz.

    Raises:
        BusyError: A flash is under way.
        RefusedError: It is damaged or does not run here; what ran before still runs.
    """
    with flashing(base):
        begin(base)
        for kind in ("layers", "releases"):
            for packed in sorted(Path(folder, kind).glob("*.tar.gz")):
                name = packed.name.removesuffix(".tar.gz")
                if is_whole(base / kind / name):
                    continue
                with packed.open("rb") as stream:
                    stored.store(base, kind, name, stream)
        verify(base, release)
        tune(base, release)
        activate(base, release, scope, settle_s)


def begin(base: Path) -> None:
    """Make the folders, drop what an earlier flash left unfinished, and tell what is there."""
    stored.make_folders(base)
    state(base)


def state(base: Path, scope: str = "none") -> None:
    """Tell what is there, and how its service is."""
    say(
        {
            "layers": names(base / "layers"),
            "releases": names(base / "releases"),
            "current": pointed(base, "current"),
            "previous": pointed(base, "previous"),
            "service": properties(scope),
        }
    )


def receive(base: Path, kind: str, name: str) -> None:
    """Take a layer or release from standard input; see stored.store."""
    stored.store(base, kind, name, sys.stdin.buffer)
    say({"received": name})


def damaged(base: Path, *paths: str) -> None:
    """Tell which of some layers and releases, such as layers/NAME, are not what their names say."""
    say({"damaged": [path for path in paths if not is_whole(base / path)]})


def verify(base: Path, release: str) -> None:
    """Check a release and run a model with it; see verifying.verify."""
    say({"verified": release, "check": verifying.verify(base, release)})


def tune(base: Path, release: str) -> None:
    """Measure which way to run the release's bundle is the fastest here; not knowing it is no reason to stop."""
    folder = stored.find_release(base, release)
    say(measure(base, folder, stored.layers_of(folder)))


def activate(base: Path, release: str, scope: str, settle_s: str) -> None:
    """Switch to a release; see switching.switch."""
    switch(base, release, scope, float(settle_s))
    say({"active": release, "previous": pointed(base, "previous")})


def rollback(base: Path, scope: str, settle_s: str) -> None:
    """Verify the release before the current one again, and activate it.

    Raises:
        RefusedError: There is none, it does not verify, or it is not healthy.
    """
    before = pointed(base, "previous")
    if not before:
        raise RefusedError("there is no release to go back to")
    verify(base, before)
    activate(base, before, scope, settle_s)


def uninstall(base: Path, scope: str) -> None:
    """Stop the service and remove everything that siamedge put on the device."""
    with switching(base):
        stop(scope)
        shutil.rmtree(base)
    say({"removed": str(base)})


def collect(base: Path, keep: str) -> None:
    """Remove old releases and what only they use; see stored.collect."""
    with switching(base):
        removed = stored.collect(base, int(keep))
    say({"kept": names(base / "releases"), "removed_layers": removed})


def tidy(base: Path, keep: str) -> None:
    """Collect while no flash is under way.

    Raises:
        BusyError: A flash is under way.
    """
    with flashing(base):
        collect(base, keep)


def status(base: Path, scope: str) -> None:
    """Tell which release is on and how its service is."""
    say({"release": pointed(base, "current"), "previous": pointed(base, "previous"), "service": properties(scope)})


def logs(base: Path, scope: str, lines: str) -> None:
    """Print the service's last lines."""
    sys.stdout.write(journal(scope, int(lines)))


def enroll(base: Path) -> None:
    """Take the enrolled keys from standard input; see verifying.enroll."""
    say({"enrolled": verifying.enroll(base, sys.stdin.buffer.read())})


def say(answer: Mapping[str, Any]) -> None:
    """Answer in one line; whoever asked may be gone."""
    _print(json.dumps(answer, sort_keys=True))


def _print(line: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


VERBS: Mapping[str, Callable[..., None]] = {
    "activate": activate,
    "begin": begin,
    "collect": collect,
    "damaged": damaged,
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
    except BusyError:
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
