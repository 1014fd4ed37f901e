"""Signatures of bundles: OpenSSH's own, over manifest.json, which holds the SHA-256 of every other file.

`ssh-keygen -Y` signs and verifies; a private key may stay in an agent or a token, and a device needs no library for it.
"""

import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from siamedge.devices.on_device.verifying import NAMESPACE
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import BundleError, DeviceError
from siamedge.runtime.places import make_folder

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
SIGNER = "siamedge"
_UNLOCK = "run it in a terminal, which is asked for the passphrase, or `ssh-add KEY` and name KEY.pub"
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
        _answer("-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest), what="signing")
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
        command = ("-Y", "verify", "-f", f"{work}/allowed", "-I", SIGNER, "-n", NAMESPACE, "-s", f"{work}/sig")
        done = _ssh_keygen(*command, feed=manifest)
    if done.returncode:
        raise BundleError(
            f"{bundle.name}: the signature is not by an allowed key, or the bundle was changed after it",
            hint="get the bundle again from its signer",
        )
    Bundle.open(bundle)


def allowed_signers(public_keys: Sequence[Path]) -> str:
    """The file that a device keeps: one line a key, good for bundles and nothing else.

    Args:
        public_keys: Files of one key a line; empty lines and comments (#) are left out.

    Raises:
        DeviceError: A file holds something else than public Ed25519 keys.
    """
    keys = dict.fromkeys(key for path in public_keys for key in _public(path))
    return "".join(f'{SIGNER} namespaces="{NAMESPACE}" {key}\n' for key in keys)


def _public(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path} cannot be read as a public key", hint="name the file that ends in .pub") from error
    keys = [(number, words) for number, line in enumerate(lines, 1) if (words := line.split()) and words[0][0] != "#"]
    if not keys:
        raise DeviceError(f"{path} holds no public key", hint="name the file that ends in .pub")
    return [_checked(words, str(path) if len(keys) == 1 else f"{path}, line {number},") for number, words in keys]


def _checked(words: Sequence[str], where: str) -> str:
    if words[0] != "ssh-ed25519":
        kind = words[0] if words[0].startswith(("ssh-", "ecdsa-", "sk-")) else "no public key"
        raise DeviceError(f"{where} is {kind}, ssh-ed25519 needed", hint="make one with `siamedge keys create`")
    key = " ".join(words[:2])
    if _ssh_keygen("-l", "-f", "-", feed=key.encode()).returncode:
        raise DeviceError(f"{where} is a damaged key", hint="copy the .pub file again; a key is one line")
    return key


def create_key(path: Path) -> str:
    """Make a key pair; ssh-keygen itself asks for the passphrase. Gives the fingerprint.

    Raises:
        DeviceError: The file or its public half is there already, or ssh-keygen fails.
        PlaceError: Its folder cannot be made.
    """
    for half in (path, path.with_name(f"{path.name}.pub")):
        if half.exists():
            raise DeviceError(f"{half} is there already", hint="choose another name; keys are not overwritten")
    make_folder(path.parent, "file")
    if _ssh_keygen("-q", "-t", "ed25519", "-C", "siamedge", "-f", str(path), is_captured=False).returncode:
        raise DeviceError(f"{path}: ssh-keygen made no key", hint=_NEWER)
    return fingerprint_of(path)


def fingerprint_of(key: Path) -> str:
    """Such as SHA256:..., of an Ed25519 key.

    Raises:
        DeviceError: It is missing or of another kind.
    """
    if not key.is_file():
        raise DeviceError(f"{key}: no such key", hint="make one with `siamedge keys create`")
    words = _answer("-l", "-f", str(key), what=f"reading {key}").split()
    if words[-1] != "(ED25519)":
        raise DeviceError(f"{key} is {words[-1].strip('()')}, ED25519 needed", hint="siamedge keys create")
    return words[1]


def _answer(*arguments: str, what: str) -> str:
    done = _ssh_keygen(*arguments)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip() or "failed").splitlines()[-1]
        hint = _UNLOCK if "passphrase" in last else f"is the key one of Ed25519? {_NEWER}"
        raise DeviceError(f"{what}: {last}", hint=hint)
    return done.stdout.decode(errors="replace")


def _ssh_keygen(
    *arguments: str, feed: bytes | None = None, is_captured: bool = True
) -> "subprocess.CompletedProcess[bytes]":
    program = shutil.which("ssh-keygen")
    if program is None:
        raise DeviceError("ssh-keygen is not installed", hint="apt install openssh-client")
    return subprocess.run([program, *arguments], input=feed, capture_output=is_captured, check=False)


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
