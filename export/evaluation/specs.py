"""Which tracker is meant: the words of the command line, opened when and where they are needed."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from siamedge.export.evaluation.baselines import IdentityTracker, OpenCVNano
from siamedge.runtime.backends.backend import ALL_PRECISIONS
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, open_tracker, pick
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker

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
            return f"opencv-nano-{self.files()[0].stem}"
        name = Path(self.source).name.removesuffix(".zip").removesuffix(".siamedge")
        stem = Path(name).stem if Path(name).suffix in CHECKPOINT_SUFFIXES else name
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
    if Path(spec.source).suffix in CHECKPOINT_SUFFIXES:
        return _open_checkpoint(spec)
    return _open_bundle(spec)


def _open_checkpoint(spec: TrackerSpec) -> Tracker:
    """Run a checkpoint in PyTorch, fp32, on one thread so that every process computes the same."""
    _check_checkpoint(spec)
    try:
        import torch

        from siamedge.export.checkpoints.reading import load_network
        from siamedge.export.families.torch_session import TorchSession
    except ImportError as error:
        raise BackendError(f"a checkpoint needs {error.name}", hint="pip install 'siamedge[export]'") from error
    torch.set_num_threads(1)
    network = load_network(Path(spec.source))
    return make_tracker(
        network.family, TorchSession(network, "template"), TorchSession(network, "search"), network.params
    )


def _check_checkpoint(spec: TrackerSpec) -> None:
    asked = spec.backend, spec.precision, spec.device
    if not (asked[0] in ("auto", "torch") and asked[1] in ("auto", "fp32") and asked[2] == "CPU"):
        raise BackendError(
            f"{spec.source}: a checkpoint runs in PyTorch, fp32, on the CPU, not {' '.join(asked)}",
            hint="export it with `siamedge export` and evaluate the bundle",
        )


def _open_bundle(spec: TrackerSpec) -> Tracker:
    bundle = Bundle.open(Path(spec.source))
    return open_tracker(bundle, _pick(bundle, spec))


def _pick(bundle: Bundle, spec: TrackerSpec) -> Candidate:
    precision = next((known for known in ALL_PRECISIONS if known == spec.precision), None)
    if precision is None and spec.precision != "auto":
        raise BackendError(f"unknown precision {spec.precision!r}", hint=f"choose one of {', '.join(ALL_PRECISIONS)}")
    backend = None if spec.backend == "auto" else spec.backend
    return pick(bundle, backend=backend, precision=precision, device=spec.device).choice


def resolved(spec: TrackerSpec) -> TrackerSpec:
    """Settle "auto": the backend and precision that this machine takes, so that a run says what it ran.

    Raises:
        BundleError: The bundle cannot be opened.
        BackendError: None of its models can run here, or the tracker has no such choice.
    """
    if spec.source == "identity" or spec.source.startswith("opencv:"):
        if (spec.backend, spec.precision, spec.device) != ("auto", "auto", "CPU"):
            raise BackendError(
                f"{spec.source}: has no choice of backend, precision or device",
                hint="leave --backend, --precision and --device away",
            )
        return spec
    if Path(spec.source).suffix in CHECKPOINT_SUFFIXES:
        _check_checkpoint(spec)
        return replace(spec, backend="torch", precision="fp32")
    choice = _pick(Bundle.open(Path(spec.source)), spec)
    return replace(spec, backend=choice.backend, precision=choice.precision, device=choice.device)
