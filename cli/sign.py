"""siamedge sign and siamedge keys: who may make bundles for a device."""

from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(no_args_is_help=True, help="Make signing keys, and say which keys a device accepts.")


def sign(
    bundle: Annotated[Path, typer.Argument(help="NAME.siamedge or its zip; it is signed in place.")],
    key: Annotated[Path, typer.Option(help="Ed25519 key; the .pub file when an agent holds the key.")],
) -> None:
    """Sign a bundle with Ed25519, by OpenSSH."""
    from siamedge.devices.releases.trust import sign as sign_bundle

    typer.echo(f"{bundle.name} is signed by {sign_bundle(bundle, key)}")


@keys.command()
def create(path: Annotated[Path, typer.Argument(help="Of the private key; the public one gets .pub.")]) -> None:
    """Make an Ed25519 key pair; ssh-keygen asks for a passphrase."""
    from siamedge.devices.releases.trust import create_key

    typer.echo(f"{path} is {create_key(path)}; enroll {path}.pub on your devices")


@keys.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="NAME.siamedge or its zip.")],
    public_keys: Annotated[list[Path], typer.Argument(help="Keys of whom you trust, one a line: KEY.pub ...")],
) -> None:
    """Check that a bundle is signed by one of some keys."""
    from siamedge.devices.releases.trust import allowed_signers
    from siamedge.devices.releases.trust import verify as verify_bundle

    verify_bundle(bundle, allowed_signers(public_keys))
    typer.echo(f"{bundle.name} is signed by an allowed key and unchanged")


@keys.command()
def enroll(
    target: Annotated[str, typer.Argument(help="ssh://user@host[:port] with siamedge on it.")],
    public_keys: Annotated[list[Path], typer.Argument(help="All keys that it shall accept, one a line: KEY.pub ...")],
) -> None:
    """From now on the device takes only bundles signed by one of these keys."""
    from siamedge.devices.releases.trust import allowed_signers

    allowed = allowed_signers(public_keys)
    _set(target, allowed)
    typer.echo(f"{target} accepts bundles signed by {len(allowed.splitlines())} key(s) only")


@keys.command()
def clear(target: Annotated[str, typer.Argument(help="ssh://user@host[:port] with siamedge on it.")]) -> None:
    """The device takes unsigned bundles again."""
    _set(target, "")
    typer.echo(f"{target} accepts any bundle")


def _set(target: str, allowed: str) -> None:
    from siamedge.devices.flashing.targets import connected, open_target

    with open_target(target) as transport:
        remote = connected(transport)
        with remote.lock():
            remote.call("enroll", feed=allowed.encode())
