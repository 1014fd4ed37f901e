"""Signatures of bundles: OpenSSH's own, over manifest.json, which holds the SHA-256 of every other file.

`ssh-keygen -Y` signs and verifies; a private key may stay in an agent or a token, and a device needs no library for it.
"""

import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from siamedge.devices.on_device.verbs import NAMESPACE
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import BundleError, DeviceError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
SIGNER = "siamedge"
_NEWER = "OpenSSH 8.2 or newer is needed here"


def sign(bundle: Path, key: Path) -> str:
    """Sign a bundle in place; an older signature is replaced.

    Args:
        bundle: Folder or zip file.
        key: Private Ed25519 key, or its public half when an agent holds the private one.

    Returns:
        Fingerprint of the key.

    Raises:
        BundleError: The bundle is damaged.
        DeviceError: The key is missing, of another kind, or ssh-keygen refuses it.
    """
    fingerprint = fingerprint_of(key)
    Bundle.open(bundle)
    with tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        manifest = Path(work) / MANIFEST
        manifest.write_bytes(_read(bundle, MANIFEST))
        _run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest)], "signing")
        _write(bundle, manifest.with_name(SIGNATURE).read_bytes())
    return fingerprint


def verify(bundle: Path, allowed: str) -> None:
    """Check that a bundle is signed by one of the allowed keys.

    Args:
        bundle: Folder or zip file.
        allowed: From allowed_signers.

    Raises:
        BundleError: It is not signed, or by another key, or was changed since.
    """
    manifest = _read(bundle, MANIFEST)
    try:
        signature = _read(bundle, SIGNATURE)
    except BundleError as error:
        raise BundleError(f"{bundle.name} is not signed", hint="siamedge sign BUNDLE --key KEY") from error
    with tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        (Path(work) / "allowed").write_text(allowed, encoding="utf-8")
        (Path(work) / "sig").write_bytes(signature)
        command = ["ssh-keygen", "-Y", "verify", "-f", f"{work}/allowed", "-I", SIGNER, "-n", NAMESPACE]
        done = subprocess.run([*command, "-s", f"{work}/sig"], input=manifest, capture_output=True, check=False)
    if done.returncode:
        raise BundleError(
            f"{bundle.name}: the signature is not by an allowed key, or the bundle was changed after it",
            hint="get the bundle again from its signer",
        )
    Bundle.open(bundle)


def allowed_signers(public_keys: Sequence[Path]) -> str:
    """The file that a device keeps: one line a key, good for bundles and nothing else.

    Raises:
        DeviceError: A file is no public Ed25519 key.
    """
    return "".join(f'{SIGNER} namespaces="{NAMESPACE}" {_public(path)}\n' for path in public_keys)


def _public(path: Path) -> str:
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path} cannot be read as a public key", hint="name the file that ends in .pub") from error
    if len(words) < 2 or words[0] != "ssh-ed25519":
        kind = words[0] if words and words[0].startswith(("ssh-", "ecdsa-", "sk-")) else "no public key"
        raise DeviceError(f"{path} is {kind}, ssh-ed25519 needed", hint="make one with `siamedge keys create`")
    return f"{words[0]} {words[1]}"


def create_key(path: Path) -> str:
    """Make a key pair; ssh-keygen itself asks for the passphrase. Gives the fingerprint.

    Raises:
        DeviceError: The file is there already, or ssh-keygen fails.
    """
    if path.exists():
        raise DeviceError(f"{path} is there already", hint="choose another name; keys are not overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-C", "siamedge", "-f", str(path)]
    if subprocess.run(command, check=False).returncode:
        raise DeviceError(f"{path}: ssh-keygen made no key", hint=_NEWER)
    return fingerprint_of(path)


def fingerprint_of(key: Path) -> str:
    """Such as SHA256:..., of an Ed25519 key.

    Raises:
        DeviceError: It is missing or of another kind.
    """
    if not key.is_file():
        raise DeviceError(f"{key}: no such key", hint="make one with `siamedge keys create`")
    words = _run(["ssh-keygen", "-l", "-f", str(key)], f"reading {key}").split()
    if words[-1] != "(ED25519)":
        raise DeviceError(f"{key} is {words[-1].strip('()')}, ED25519 needed", hint="siamedge keys create")
    return words[1]


def _run(command: Sequence[str], what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DeviceError("ssh-keygen is not installed", hint="apt install openssh-client") from error
    if done.returncode:
        last = (done.stderr.strip() or "failed").splitlines()[-1]
        raise DeviceError(f"{what}: {last}", hint=f"is the key one of Ed25519? {_NEWER}")
    return done.stdout


def _read(bundle: Path, name: str) -> bytes:
    if bundle.is_dir():
        if not (bundle / name).is_file():
            raise BundleError(f"{bundle.name}: {name} is missing")
        return (bundle / name).read_bytes()
    try:
        with zipfile.ZipFile(bundle) as archive:
            return archive.read(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{bundle.name}: {name} is missing") from error


def _write(bundle: Path, signature: bytes) -> None:
    if bundle.is_dir():
        (bundle / SIGNATURE).write_bytes(signature)
        return
    part = bundle.with_name(f".{bundle.name}.part")
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(part, "w") as new:
        for member in old.infolist():
            if member.filename != SIGNATURE:
                new.writestr(member, old.read(member))
        new.writestr(zipfile.ZipInfo(SIGNATURE, (1980, 1, 1, 0, 0, 0)), signature)
    shutil.copymode(bundle, part)
    part.replace(bundle)
