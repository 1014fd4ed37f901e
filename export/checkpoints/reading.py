"""Reading trained weights from files, without running what a pickle may contain."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from siamedge.export.families.embedded import WEIGHTS
from siamedge.export.families.source import Checkpoint, SourceNetwork
from siamedge.export.families.table import build_arch, recognise
from siamedge.runtime.errors import ExportError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep the weights."""
WRAPPING_DEPTH = 3
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError),
    *(LookupError, TypeError, AttributeError, AssertionError),
)
"""What torch.load raises for damaged files, as found by damaging some in thousands of ways."""


def _numpy_globals() -> list[Any]:
    """Harmless numpy classes that older training scripts left in their checkpoints, under their old names."""
    dtypes = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [np.dtype, (scalar, "numpy.core.multiarray.scalar"), *dtypes]


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            state = {name.removeprefix("module."): file.get_tensor(name).float() for name in names}
            return Checkpoint(state, file.metadata() or {})
    except (SafetensorError, OSError, NotImplementedError) as error:
        raise ExportError(f"{path}: not a readable safetensors file: {error}", hint="copy it again") from error


def _read_pickle(path: Path) -> Checkpoint:
    try:
        with safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason, hint = _why_unreadable(path, str(error))
        raise ExportError(f"{path}: {reason}", hint=hint) from error
    return Checkpoint(_tensors(content), {})


def _why_unreadable(path: Path, torch_says: str) -> tuple[str, str]:
    """Say what is wrong with a file that torch.load refuses, and what to do about it."""
    size = path.stat().st_size
    if forbidden := re.search(r"GLOBAL (\S+)", torch_says):
        return (
            f"holds Python objects besides tensors ({forbidden[1]}), which are not run",
            "save the state dict alone: torch.save(model.state_dict(), PATH)",
        )
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(path):
        return f"the checkpoint is cut off after {size} bytes", "copy it again"
    return f"not a PyTorch checkpoint, or a damaged one, {size} bytes", "give a .pth or .safetensors file of tensors"


def _tensors(content: object) -> dict[str, Tensor]:
    """Find the weights in what a training script saved; wrappers and a leading "module." are taken off."""
    for _ in range(WRAPPING_DEPTH):
        inner = (content.get(key) for key in WRAPPERS) if isinstance(content, Mapping) else ()
        content = next((value for value in inner if isinstance(value, Mapping)), content)
    items = content.items() if isinstance(content, Mapping) else ()
    return {str(name).removeprefix("module."): value for name, value in items if isinstance(value, Tensor)}


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of trained weights.

    Raises:
        ExportError: No such file, not a checkpoint, or no tensors in it.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        hint = "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists"
        raise ExportError(f"{path}: {what}", hint=hint)
    checkpoint = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not checkpoint.state:
        raise ExportError(f"{path}: holds no tensors", hint="give a checkpoint of weights (a state dict)")
    return checkpoint


def load_network(path: Path, arch: str | None = None) -> SourceNetwork:
    """Load a trained network; its architecture is recognised unless it is named.

    Raises:
        ExportError: The file cannot be read, holds values that no network computes with, or fits no (or not the named)
            architecture.
    """
    checkpoint = read_checkpoint(path)
    if (diverged := first_diverged(checkpoint.state)) is not None:
        raise ExportError(f"{path}: {diverged}", hint="the training has diverged: give an earlier checkpoint")
    return build_arch(arch, checkpoint) if arch else recognise(checkpoint, path.name)


def first_diverged(state: Mapping[str, Tensor]) -> str | None:
    """Say which tensor of a checkpoint holds values that no network computes with, or None if none does."""
    for name, values in state.items():
        if odd := int((~values.isfinite()).sum()):
            return f"{odd} of {values.numel()} values of {name} are no finite numbers"
        if name.endswith("running_var") and values.numel() and float(values.min()) < 0:
            return f"{name} holds {float(values.min()):g}, and no variance is negative"
    return None


def default_weights() -> Path:
    """Give the path of the weights that come with siamedge."""
    return WEIGHTS / "dart_s.safetensors"


def default_calibration() -> Path:
    """Give the path of the drawn crops that come with those weights."""
    return default_weights().with_name("calibration.npz")
