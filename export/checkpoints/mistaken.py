"""What a file is that was given for weights and cannot be read as such, and what to do about it."""

import re
import zipfile
from pathlib import Path

HEAD_BYTES = 512
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""Source: git-lfs, docs/spec.md: the first line of what a checkout has in place of a file that was not fetched."""
WEB_PAGE = (b"<!doctype html", b"<html")
EXPORTED = (".onnx", ".tflite", ".xml")
SAVE_STATE = "save the state dict alone: torch.save(model.state_dict(), PATH)"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: 8 bytes of length, then JSON; no pickle or zip has a brace there."""
    return _head(path)[8:9] == b"{"


def explain(path: Path, torch_says: str) -> tuple[str, str]:
    """Say what a file is that torch.load refuses, and what to do about it."""
    if forbidden := re.search(r"GLOBAL (\S+)", torch_says):
        return f"holds Python objects besides tensors ({forbidden[1]}), which are not run", SAVE_STATE
    if "TorchScript" in torch_says:
        hint = "save its weights: torch.save(torch.jit.load(PATH).state_dict(), 'weights.pth')"
        return "a TorchScript program, not weights alone", hint
    return _other_file(path) or (
        f"neither a PyTorch nor a safetensors file, or a damaged one, {path.stat().st_size} bytes",
        "give a .pth or .safetensors file of tensors",
    )


def _other_file(path: Path) -> tuple[str, str] | None:
    head = _head(path)
    if head.startswith(LFS_POINTER):
        return "a pointer of Git LFS, not the weights", "fetch what it stands for: git lfs pull"
    if head.lstrip().lower().startswith(WEB_PAGE):
        return "a web page, not the weights", "download the file itself, not the page that shows or refuses it"
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return f"the checkpoint is cut off after {path.stat().st_size} bytes", "copy it again"
    if path.suffix in EXPORTED:
        return "an exported model, not trained weights", "give the .pth or .safetensors file that it was made from"
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
