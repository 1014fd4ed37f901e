"""Reading trained weights from files, without running what a pickle may contain."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from siamedge.export.families.source import SourceNetwork, StateDict
from siamedge.export.families.table import build_arch, recognise
from siamedge.runtime.errors import ExportError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep the weights."""


def _numpy_globals() -> list[Any]:
    """Harmless numpy classes that older training scripts left in their checkpoints, under their old names."""
    dtypes = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [np.dtype, (scalar, "numpy.core.multiarray.scalar"), *dtypes]


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ExportError(f"{path}: not a readable safetensors file: {error}", hint="copy it again") from error
    try:
        with safe_globals(_numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ExportError(
            f"{path}: not a PyTorch checkpoint, or a damaged one, {path.stat().st_size} bytes ({reason})",
            hint="copy it again; siamedge reads .pth and .safetensors files of tensors only",
        ) from error


def read_state(path: Path) -> StateDict:
    """Read a checkpoint's tensors by name; wrappers and a leading "module." are taken off.

    Raises:
        ExportError: No such file, not a checkpoint, or no tensors in it.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file", hint="give the path of a .pth or .safetensors checkpoint")
    content = _read(path)
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(name).removeprefix("module."): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise ExportError(f"{path}: holds no tensors", hint="give a checkpoint of weights (a state dict)")
    return state


def load_network(path: Path, arch: str | None = None) -> SourceNetwork:
    """Load a trained network; its architecture is recognised unless it is named.

    Raises:
        ExportError: The file cannot be read, or fits no (or not the named) architecture.
    """
    state = read_state(path)
    return build_arch(arch, state) if arch else recognise(state, path.name)
