"""Weights are read from what training scripts save, and nothing in a file can run code or end in a traceback."""

import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from siamedge.export.checkpoints.reading import default_weights, load_network, read_checkpoint
from siamedge.export.families.dart import DartConfig
from siamedge.export.families.dart_source import TRACKER_KEY
from siamedge.export.families.table import ARCHITECTURES
from siamedge.runtime.errors import ExportError

WEIGHTS = {"backbone.0.weight": torch.arange(6.0).reshape(2, 3), "cls.bias": torch.ones(1)}
GIVE_TENSORS = "give a .pth or .safetensors file of tensors"


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def refusal(path: Path, arch: str | None = None) -> tuple[str, str]:
    with pytest.raises(ExportError) as caught:
        load_network(path, arch)
    return str(caught.value), caught.value.hint


def save(path: Path, content: object, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 7},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"net": {"state_dict": state}},
        lambda state: {"model": {"module." + name: value for name, value in state.items()}},
        lambda state: {"state_dict": {"model." + name: value for name, value in state.items()}, "callbacks": {}},
        lambda state: {"module._orig_mod.net." + name: value for name, value in state.items()},
        lambda state: {**state, "steps": 12},
    ],
)
def test_weights_are_found_in_what_training_scripts_save(tmp_path: Path, wrap, legacy: bool) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    state = read_checkpoint(save(tmp_path / "a.pth", wrap(WEIGHTS), legacy=legacy)).state
    assert state.keys() == WEIGHTS.keys()
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)


def test_safetensors_come_with_their_notes(tmp_path: Path) -> None:
    save_file({name: value.half() for name, value in WEIGHTS.items()}, tmp_path / "a.safetensors", {"by": "us"})
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.metadata == {"by": "us"}
    assert checkpoint.state["cls.bias"].dtype == torch.float32


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    hint = "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists"
    assert refusal(tmp_path / "a.pth") == (f"{tmp_path / 'a.pth'}: no such file", hint)
    assert refusal(tmp_path) == (f"{tmp_path}: is a folder", hint)


@pytest.mark.parametrize(
    "content", [b"", b"these are no weights\n" * 10, b"\x89PNG\r\n\x1a\n" + bytes(90), b"\x80\x02"]
)
def test_a_file_that_is_no_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    assert refusal(path) == (
        f"{path}: neither a PyTorch nor a safetensors file, or a damaged one, {len(content)} bytes",
        GIVE_TENSORS,
    )


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 9345678\n",
            "a pointer of Git LFS, not the weights",
            "fetch what it stands for: git lfs pull",
        ),
        (
            "\n<!DOCTYPE html>\n<html><title>Quota exceeded</title></html>",
            "a web page, not the weights",
            "download the file itself, not the page that shows or refuses it",
        ),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_told(
    tmp_path: Path, name: str, content: str, reason: str, hint: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert refusal(path) == (f"{path}: {reason}", hint)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_told_with_how_to_save_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert refusal(path) == (
        f"{path}: a TorchScript program, not weights alone",
        "save its weights: torch.save(torch.jit.load(PATH).state_dict(), 'weights.pth')",
    )


def test_an_exported_model_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x0a\x12\x07pytorch")
    message = f"{path}: an exported model, not trained weights"
    assert refusal(path) == (message, "give the .pth or .safetensors file that it was made from")


def test_weights_are_known_by_their_content_not_by_their_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "a.pth")
    save(tmp_path / "a.safetensors", WEIGHTS)
    for path in tmp_path.iterdir():
        assert read_checkpoint(path).state.keys() == WEIGHTS.keys()


def test_a_file_that_cannot_be_read_is_told() -> None:
    assert refusal(Path("/proc/self/mem"))[0] == "/proc/self/mem: cannot be read: Input/output error"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_told(tmp_path: Path, share: float) -> None:
    whole = save(tmp_path / "whole.pth", WEIGHTS).read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    message = f"{path}: the checkpoint is cut off after {int(share * len(whole))} bytes"
    assert refusal(path) == (message, "copy it again")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path: Path, legacy: bool) -> None:
    path = save(tmp_path / "a.pth", {**WEIGHTS, "x": Bomb(tmp_path / "ran")}, legacy=legacy)
    assert refusal(path) == (
        f"{path}: holds Python objects besides tensors (posix.mkdir), which are not run",
        "save the state dict alone: torch.save(model.state_dict(), PATH)",
    )
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refusal(path)
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", torch.nn.Linear(2, 2))
    message, _ = refusal(path)
    assert message == (
        f"{path}: holds Python objects besides tensors (torch.nn.modules.linear.Linear), which are not run"
    )


def test_a_checkpoint_without_tensors_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"epoch": 3, "network": WEIGHTS})
    hint = "save the state dict alone: torch.save(model.state_dict(), PATH)"
    message = f"{path}: no tensors under state_dict, model, model_state_dict, net; its keys are epoch, network"
    assert refusal(path) == (message, hint)
    assert refusal(save(path, [1, 2])) == (f"{path}: holds no tensors", hint)
    save_file({}, path)
    assert refusal(path) == (f"{path}: holds no tensors", hint)


def test_damage_of_any_kind_gives_our_error_or_tensors(tmp_path: Path) -> None:
    rng, path = random.Random(1), tmp_path / "a.pth"
    for legacy in (False, True):
        whole = save(tmp_path / "whole.pth", {"state_dict": WEIGHTS}, legacy=legacy).read_bytes()
        refused = 0
        for _ in range(250):
            content = bytearray(whole)
            for _ in range(rng.randrange(1, 4)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
            try:
                read_checkpoint(path)
            except ExportError:
                refused += 1
        assert refused > 100


def test_an_unknown_checkpoint_names_the_first_wrong_tensor_of_every_family(tmp_path: Path) -> None:
    message, hint = refusal(save(tmp_path / "a.pth", WEIGHTS))
    assert message == (
        "a.pth: fits no known architecture; its first tensor is backbone.0.weight ("
        "not a nanotrack-v1 checkpoint: backbone.features.0.0.weight is missing; "
        "not a nanotrack-v2 checkpoint: backbone.features.0.0.weight is missing; "
        "not a nanotrack-v3 checkpoint: backbone.features.0.0.weight is missing; "
        "not a siamfc-alexnet checkpoint: backbone.conv1.0.weight is missing; "
        "not a dart checkpoint: backbone.0.weight has shape (2, 3), expected (16, 3, 3, 3))"
    )
    assert hint == "if it is one of these under other names, rename the tensors"
    assert all(arch in message for arch in ARCHITECTURES)


def test_an_unknown_architecture_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "a.pth", WEIGHTS), "foo") == (
        "unknown architecture 'foo'",
        "choose one of nanotrack-v1, nanotrack-v2, nanotrack-v3, siamfc-alexnet, dart",
    )


def test_the_embedded_weights_are_a_dart_of_ours() -> None:
    network = load_network(default_weights())
    assert (network.arch, network.family) == ("dart", "anchor-free")
    assert load_network(default_weights(), "dart").params == network.params


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("{", "dart_tracker in the weights cannot be read: "),
        ("[1]", "dart_tracker in the weights cannot be read: "),
        ('{"lr": "fast"}', "dart_tracker in the weights cannot be read: "),
        ('{"lrr": 1}', "dart_tracker in the weights: "),
    ],
)
def test_unreadable_notes_in_dart_weights_are_told(tmp_path: Path, note: str, reason: str) -> None:
    checkpoint = read_checkpoint(default_weights())
    path = tmp_path / "a.safetensors"
    save_file(dict(checkpoint.state), path, {**checkpoint.metadata, TRACKER_KEY: note})
    message, _ = refusal(path, "dart")
    assert message.startswith(reason)


@pytest.mark.parametrize("text", ["", "[]", '{"layers": 3}', '{"layers": [[1]]}', "null"])
def test_an_unreadable_dart_config_is_told(text: str) -> None:
    with pytest.raises(ExportError, match="dart_config in the weights cannot be read"):
        DartConfig.from_json(text)


@pytest.mark.parametrize(
    ("value", "told"),
    [(float("nan"), "1 of 16 values of backbone.0.bias are no finite numbers"), (float("inf"), "1 of 16 values")],
)
def test_weights_of_a_training_that_diverged_are_told(tmp_path: Path, value: float, told: str) -> None:
    checkpoint = read_checkpoint(default_weights())
    checkpoint.state["backbone.0.bias"][3] = value
    path = tmp_path / "a.safetensors"
    save_file(dict(checkpoint.state), path, dict(checkpoint.metadata))
    with pytest.raises(ExportError, match=told) as caught:
        load_network(path)
    assert caught.value.hint == "the training has diverged: give an earlier checkpoint"


def test_the_names_of_a_wrapped_module_are_those_of_the_network(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(default_weights())
    path = tmp_path / "a.safetensors"
    save_file({f"module.{name}": value for name, value in checkpoint.state.items()}, path, dict(checkpoint.metadata))
    assert load_network(path).arch == "dart"
