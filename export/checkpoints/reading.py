"""Reading trained weights from files, without running what a pickle may contain."""

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from siamedge.export.checkpoints.mistaken import SAVE_STATE, explain, is_safetensors
from siamedge.export.families.embedded import WEIGHTS
from siamedge.export.families.source import Checkpoint, SourceNetwork
from siamedge.export.families.table import build_arch, recognise
from siamedge.runtime.errors import ExportError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep the weights."""
WRAPPING_DEPTH = 3
PREFIX = re.compile(r"((module|model|net|_orig_mod)\.)+")
"""What DataParallel, a class around the network (as Lightning has it) and torch.compile put before tensors' names."""
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
            state = {_bare(name): file.get_tensor(name).float() for name in names}
            return Checkpoint(state, file.metadata() or {})
    except (SafetensorError, OSError, NotImplementedError) as error:
        raise ExportError(f"{path}: not a readable safetensors file: {error}", hint="copy it again") from error


def _read_pickle(path: Path) -> Checkpoint:
    try:
        # A file, not its name: torch.load takes what is called .safetensors for that.
        with safe_globals(_numpy_globals()), warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason, hint = explain(path, str(error))
        raise ExportError(f"{path}: {reason}", hint=hint) from error
    state = _tensors(content)
    if not state and isinstance(content, Mapping) and content:
        keys = ", ".join(map(str, content))
        raise ExportError(f"{path}: no tensors under {', '.join(WRAPPERS)}; its keys are {keys}", hint=SAVE_STATE)
    return Checkpoint(state, {})


def _tensors(content: object) -> dict[str, Tensor]:
    """Find the weights in what a training script saved; wrappers and what they put before names are taken off."""
    for _ in range(WRAPPING_DEPTH):
        inner = (content.get(key) for key in WRAPPERS) if isinstance(content, Mapping) else ()
        content = next((value for value in inner if isinstance(value, Mapping)), content)
    items = content.items() if isinstance(content, Mapping) else ()
    return {_bare(str(name)): value for name, value in items if isinstance(value, Tensor)}


def _bare(name: str) -> str:
    prefix = PREFIX.match(name)
    return name[prefix.end() :] if prefix else name


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of trained weights.

    Raises:
        ExportError: No such file, not a checkpoint, or no tensors in it.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        hint = "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists"
        raise ExportError(f"{path}: {what}", hint=hint)
    try:
        read = _read_safetensors if is_safetensors(path) else _read_pickle
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}", hint="whose file is it?") from error
    checkpoint = read(path)
    if not checkpoint.state:
        raise ExportError(f"{path}: holds no tensors", hint=SAVE_STATE)
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
