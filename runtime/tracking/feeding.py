"""From a crop to a session's outputs: the buffers that a tracker keeps between frames."""

from collections.abc import Iterable, Mapping

import numpy as np

from siamedge.runtime.backends.backend import LendingSession, Session
from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import FloatArray, Image
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.crops import Square
from siamedge.runtime.tracking.input_writer import InputWriter


def crop_spec(session: Session) -> TensorSpec:
    """Find the input that takes a picture.

    Raises:
        BackendError: There is none, or more than one.
    """
    crops = [spec for spec in session.inputs.values() if 3 in (spec.shape[-1], spec.shape[1]) and len(spec.shape) == 4]
    if len(crops) != 1:
        raise BackendError(f"the model has {len(crops)} inputs for a picture, expected 1: {list(session.inputs)}")
    return crops[0]


class CropRunner:
    """Runs a session on crops, keeping its input buffer.

    Args:
        session: A template or search graph.

    Attributes:
        picture: (S, S, 3) uint8, BGR. A crop that is written here is not copied again where the model takes uint8
            in this layout: it is the input's own memory.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        spec = crop_spec(session)
        memory = session.memory(spec.name) if isinstance(session, LendingSession) else np.empty(spec.shape, spec.dtype)
        self._feeds: dict[str, Array] = {spec.name: memory}
        self._writer = InputWriter(spec, memory)
        self.picture: Image = self._writer.picture

    def hold(self, kernels: Mapping[str, Array]) -> None:
        """Feed copies of these tensors from now on, read-only, together with each crop."""
        for name in self._session.inputs.keys() & kernels.keys():
            copy = self._feeds[name] = np.array(kernels[name])
            copy.flags.writeable = False

    def held(self, names: Iterable[str]) -> dict[str, Array]:
        """The tensors that are fed together with each crop, read-only."""
        return {name: self._feeds[name] for name in names if name in self._feeds}

    def run(self, crop: Image) -> Mapping[str, Array]:
        """Compute the outputs for one crop; their memory may be reused by the next call."""
        self._writer.put(crop)
        return self._session.run(self._feeds)

    def again(self) -> Mapping[str, Array]:
        """Compute the outputs for the last crop, as run does, with what is held now."""
        return self._session.run(self._feeds)

    def run_on(
        self, frame: Image, square: Square, padding: tuple[float, ...], *, exact: bool = False
    ) -> Mapping[str, Array]:
        """Compute the outputs for a square of a frame, as run does; arguments as in InputWriter.write."""
        self._writer.write(frame, square, padding, exact=exact)
        return self._session.run(self._feeds)


def channels_first(output: Array, spec: TensorSpec) -> FloatArray:
    """View (1, C, H, W) or (1, H, W, C) as (C, H, W), and (1, P, C) as (C, P)."""
    whole: FloatArray = output[0]
    return whole if spec.layout == "NCHW" else whole.transpose(whole.ndim - 1, *range(whole.ndim - 1))


class CellMaps:
    """Views one output of a session with its cells in a row; made anew only where the session gives other memory.

    Args:
        spec: Of the output, (1, C, H, W), (1, H, W, C) or, cells in a row, (1, P, C).
    """

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._output: Array = np.empty(0, np.float32)
        self._view: FloatArray = self._output

    def view(self, output: Array) -> FloatArray:
        """View the output as (C, cells)."""
        if output is not self._output:
            planes = channels_first(output, self._spec)
            self._output, self._view = output, planes.reshape(len(planes), -1)
        return self._view
