"""Whether a release may be switched on: whole, of an enrolled key once there are keys, and running a model here."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from siamedge.devices.on_device.files import check
from siamedge.devices.on_device.stored import find_release, layers_of
from siamedge.devices.on_device.units import RefusedError

NAMESPACE = "siamedge-bundle"
"""Of the signatures, so that a key's other signatures are good for no bundle."""
CHECK_LIMIT_S = 600
_KEYS = "keys"
_ALLOWED = "allowed_signers"


def verify(base: Path, release: str) -> str:
    """Check a release, its layers, the signature once keys are enrolled, and that it runs a model here.

    Returns:
        What the health check said.

    Raises:
        RefusedError: It fails one of them.
    """
    folder = find_release(base, release)
    check(folder, release)
    for layer in layers_of(folder).values():
        check(base / "layers" / layer, layer)
    _check_signature(base, folder / "bundle")
    done = _run_check(folder / "check")
    if done.returncode:
        last = (done.stderr.strip() or f"check ended with status {done.returncode}").splitlines()[-1]
        raise RefusedError(f"release {release} does not run here: {last}")
    return done.stdout.strip()


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
    keys = base / _KEYS / _ALLOWED
    if not keys.is_file():
        return
    manifest, signature = bundle / "manifest.json", bundle / "manifest.json.sig"
    if not signature.is_file():
        raise RefusedError("this device has enrolled keys and the bundle is not signed")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(keys), "-I", "siamedge", "-n", NAMESPACE, "-s", str(signature)]
    try:
        done = subprocess.run(command, input=manifest.read_bytes(), capture_output=True, check=False, timeout=30)
    except FileNotFoundError as error:
        raise RefusedError("this device has enrolled keys and no ssh-keygen to check a signature with") from error
    if done.returncode:
        raise RefusedError("the bundle's signature is not by a key that this device has enrolled")


def enroll(base: Path, allowed: bytes) -> int:
    """Keep the keys whose bundles are taken from now on.

    Args:
        base: Folder of all that siamedge keeps here.
        allowed: allowed_signers of OpenSSH, one key a line; empty: any bundle is taken.

    Returns:
        How many keys there are.
    """
    keys = base / _KEYS
    keys.mkdir(parents=True, exist_ok=True)
    part = keys / "part"
    part.write_bytes(allowed)
    part.replace(keys / _ALLOWED)
    if not allowed:
        shutil.rmtree(keys)
    return len(allowed.splitlines())
