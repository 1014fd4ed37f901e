"""Signed bundles: OpenSSH's own verdict on what we sign, and ours on what others sign or change."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from loopback import LoopbackDevice
from releases import small_release
from tiny_bundle import tiny_bundle

from siamedge.devices.connection.client import Remote
from siamedge.devices.flashing.flash import apply, plan_flash
from siamedge.devices.releases.layers import Layer, seal, sealed
from siamedge.devices.releases.release import Release, bundle_layer, tie
from siamedge.devices.releases.trust import allowed_signers, create_key, sign, verify
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import BundleError, DeviceError, PlaceError

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen not installed")


def key(folder: Path, name: str, kind: str = "ed25519") -> Path:
    path = folder / name
    bits = ("-b", "2048") if kind == "rsa" else ()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-f", str(path)], check=True, capture_output=True)
    return path


def allowed(*keys: Path) -> str:
    return allowed_signers([path.with_name(f"{path.name}.pub") for path in keys])


def as_zip(bundle: Path) -> Path:
    path = bundle.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in bundle.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(bundle))
    return path


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_signed_bundle_verifies_and_still_opens(tmp_path: Path, form: str) -> None:
    bundle = tiny_bundle(tmp_path) if form == "folder" else as_zip(tiny_bundle(tmp_path))
    mine, other = key(tmp_path, "mine"), key(tmp_path, "other")
    assert sign(bundle, mine).startswith("SHA256:")
    verify(bundle, allowed(other, mine))
    Bundle.open(bundle)
    with pytest.raises(BundleError, match="the signature is not by an allowed key"):
        verify(bundle, allowed(other))
    sign(bundle, other)
    verify(bundle, allowed(other))


def test_openssh_agrees(tmp_path: Path) -> None:
    bundle, mine = tiny_bundle(tmp_path), key(tmp_path, "mine")
    sign(bundle, mine)
    (tmp_path / "signers").write_text(allowed(mine))
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "siamedge", "-n", "siamedge-bundle"]
    with (bundle / "manifest.json").open("rb") as manifest:
        done = subprocess.run([*command, "-s", str(bundle / "manifest.json.sig")], stdin=manifest, check=False)
    assert done.returncode == 0


def test_changed_bundle_is_refused(tmp_path: Path) -> None:
    bundle, mine = tiny_bundle(tmp_path), key(tmp_path, "mine")
    sign(bundle, mine)
    manifest = bundle / "manifest.json"
    before = manifest.read_bytes()
    manifest.write_bytes(before.replace(b"the only one", b"the evil one"))
    with pytest.raises(BundleError, match="or the bundle was changed after it"):
        verify(bundle, allowed(mine))
    manifest.write_bytes(before)
    model = bundle / "models/onnx-fp32/search.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="sha256 is"):
        verify(bundle, allowed(mine))


def test_unsigned_bundle_and_wrong_keys_are_told(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"^tiny.siamedge is not signed$"):
        verify(bundle, allowed(key(tmp_path, "mine")))
    rsa = key(tmp_path, "old", "rsa")
    with pytest.raises(DeviceError, match="old is RSA, ED25519 needed"):
        sign(bundle, rsa)
    with pytest.raises(DeviceError, match=r"old.pub is ssh-rsa, ssh-ed25519 needed"):
        allowed(rsa)
    (tmp_path / "damaged.pub").write_text("ssh-ed25519 AAAAgarbage me\n")
    with pytest.raises(DeviceError, match=r"damaged.pub is a damaged key$"):
        allowed(tmp_path / "damaged")
    with pytest.raises(DeviceError, match="no such key"):
        sign(bundle, tmp_path / "absent")


def test_every_key_of_a_file_counts(tmp_path: Path) -> None:
    bundle, mine, other = tiny_bundle(tmp_path), key(tmp_path, "mine"), key(tmp_path, "other")
    both = tmp_path / "both.pub"
    both.write_text("# of the site\n\n" + "".join(path.with_suffix(".pub").read_text() for path in (other, mine)))
    assert allowed_signers([both]) == allowed(other, mine) == allowed(other, mine, other)
    sign(bundle, mine)
    verify(bundle, allowed_signers([both]))
    with both.open("a") as file:
        file.write("ssh-rsa AAAA me\n")
    with pytest.raises(DeviceError, match=r"both.pub, line 5, is ssh-rsa, ssh-ed25519 needed$"):
        allowed_signers([both])
    both.write_text("\n")
    with pytest.raises(DeviceError, match=r"both.pub holds no public key$"):
        allowed_signers([both])


def test_a_key_is_made_beside_no_other(tmp_path: Path) -> None:
    (tmp_path / "lone.pub").write_text("ssh-ed25519 of somebody\n")
    with pytest.raises(DeviceError, match=r"lone.pub is there already$"):
        create_key(tmp_path / "lone")
    assert (tmp_path / "lone.pub").read_text() == "ssh-ed25519 of somebody\n"
    with pytest.raises(PlaceError, match="cannot be made"):
        create_key(tmp_path / "lone.pub/below/key")


def test_a_passphrase_without_a_terminal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, mine = tiny_bundle(tmp_path), key(tmp_path, "mine")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(mine)], check=True, capture_output=True)
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    with pytest.raises(DeviceError, match="passphrase") as caught:
        sign(bundle, mine)
    assert caught.value.hint.startswith("run it in a terminal")


@pytest.mark.parametrize("verb", ["create", "sign", "verify"])
def test_without_openssh_each_verb_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    bundle, mine = tiny_bundle(tmp_path), key(tmp_path, "mine")
    sign(bundle, mine)
    signers = allowed(mine)
    monkeypatch.setenv("PATH", str(tmp_path))
    verbs = {
        "create": lambda: create_key(tmp_path / "new"),
        "sign": lambda: sign(bundle, mine),
        "verify": lambda: verify(bundle, signers),
    }
    with pytest.raises(DeviceError, match=r"^ssh-keygen is not installed$"):
        verbs[verb]()


def signed_release(device: LoopbackDevice, folder: Path, bundle: Path) -> Release:
    """A release that has a real bundle and the small service."""
    plain = small_release(folder, device.base, bundle.stem, python=sys.executable, size=10)
    layer: Layer = bundle_layer(bundle, folder / f"layer-{bundle.stem}")
    files = {name: (plain.folder.folder / name).read_text() for name in ("check", "serve", "siamedge.service")}
    return tie([layer], files, folder / f"signed-{bundle.stem}")


def test_device_with_a_key_takes_only_bundles_of_that_key(device: LoopbackDevice, tmp_path: Path) -> None:
    mine, other = key(tmp_path, "mine"), key(tmp_path, "other")
    unsigned, good, foreign = (tiny_bundle(tmp_path, name) for name in ("unsigned", "good", "foreign"))
    sign(good, mine)
    sign(foreign, other)
    work = tmp_path / "work"

    def flash(remote: Remote, bundle: Path) -> None:
        apply(
            plan_flash(remote, signed_release(device, work / bundle.stem, bundle)),
            remote,
            tmp_path / "cache",
            settle_s=0,
        )

    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, unsigned)
        flash(remote, good)
        work = tmp_path / "enrolled"
        assert remote.call("enroll", feed=allowed(mine).encode()) == {"enrolled": 1}
        with pytest.raises(DeviceError, match="this device has enrolled keys and the bundle is not signed"):
            flash(remote, unsigned)
        with pytest.raises(DeviceError, match="not by a key that this device has enrolled"):
            flash(remote, foreign)
        assert "good" in device.service_environment()
        with pytest.raises(DeviceError, match="this device has enrolled keys and the bundle is not signed"):
            remote.call("rollback", "user", "0")
        assert "good" in device.service_environment()
        assert remote.call("enroll", feed=b"") == {"enrolled": 0}
        work = tmp_path / "again"
        flash(remote, foreign)
    assert not (device.base / "keys").exists()


def test_a_sealed_folder_that_lacks_a_file_is_made_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    layer = seal(tmp_path, "site")
    assert sealed(tmp_path, "site") == layer
    (tmp_path / "b").unlink()  # as a program does that clears caches by age
    assert sealed(tmp_path, "site") is None


def test_seal_needs_files(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="holds no file"):
        seal(tmp_path, "bundle")
