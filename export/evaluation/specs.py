"""Which tracker is meant: the words of the command line, opened when and where they are needed."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from siamedge.export.evaluation.baselines import IdentityTracker, OpenCVNano
from siamedge.runtime.errors import BundleError
from siamedge.runtime.trackers import Tracker

CHECKPOINT_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".safetensors"})


@dataclass(frozen=True, slots=True)
class TrackerSpec:
    """A tracker by name; small and picklable, so that it can be opened in another process.

    Attributes:
        source: A bundle, a checkpoint, "opencv:nano:BACKBONE.onnx,HEAD.onnx" or "identity".
        backend: Inference library, "auto" for the bundle's choice.
        precision: fp32, fp16, int8, or "auto".
        device: Device of the backend.
    """

    source: str
    backend: str = "auto"
    precision: str = "auto"
    device: str = "CPU"

    @property
    def label(self) -> str:
        """A name for tables and result folders, without separators of paths."""
        if self.source.startswith("opencv:nano:"):
            return "opencv-nano"
        stem = Path(self.source).name.removesuffix(".zip").removesuffix(".siamedge")
        parts = [stem, *(part for part in (self.backend, self.precision) if part != "auto")]
        return "-".join([*parts, self.device] if self.device != "CPU" else parts)

    def files(self) -> list[Path]:
        """Give the files and folders that the tracker is made of."""
        words = self.source.removeprefix("opencv:nano:").split(",")
        return [] if self.source == "identity" else [Path(word) for word in words]


@lru_cache(maxsize=1)
def open_spec(spec: TrackerSpec) -> Tracker:
    """Open a tracker; the last one is kept, so that a process opens it once for all its sequences.

    Raises:
        BundleError: There is nothing of that name, or it cannot be opened.
        BackendError: The backend is missing or refuses the model.
    """
    if spec.source == "identity":
        return IdentityTracker()
    if spec.source.startswith("opencv:nano:"):
        backbone, _, head = spec.source.removeprefix("opencv:nano:").partition(",")
        return OpenCVNano(Path(backbone), Path(head))
    raise BundleError(f"{spec.source}: no such tracker")
