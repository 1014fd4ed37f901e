"""Bundle, source and box to results, in one call: the Python interface for programs that want no more."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker, pick
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, track
from siamedge.runtime.sources.source import SourceOptions, open_source
from siamedge.runtime.tracking.trackers import Tracker
from siamedge.runtime.watching import Reacquire, watch


def follow(
    bundle: str | Path,
    source: str | Path | int,
    box: Sequence[float],
    *,
    backend: str | None = None,
    precision: Precision | None = None,
    device: str = "CPU",
    reacquire: Reacquire | None = None,
    options: SourceOptions | None = None,
) -> Iterator[Step]:
    """Follow a target through a source; both are closed when the iteration ends or is left.

    Args:
        bundle: Path of a bundle.
        source: Address as on the command line; a path, or the number of a camera.
        box: x, y, w, h of the target in the first frame, pixels, 0-based.
        backend: onnxruntime, tflite or openvino; None: the first that works.
        precision: None: what the bundle recommends.
        device: The backend's name of a device.
        reacquire: Tell loss and search the target, as --reacquire does; None: do not. Anchor-free families only.
        options: How to read the source.

    Raises:
        SiamedgeError: The bundle, the backend or the source cannot be used, or the box is not in the first frame.
    """
    if len(box) != len(Box._fields):
        raise SourceError(f"the start box has {len(box)} numbers, not {len(Box._fields)}", hint="box=(x, y, w, h)")
    opened = Bundle.open(Path(bundle))
    choice = pick(opened, backend=backend, precision=precision, device=device).choice
    tracker: Tracker = open_tracker(opened, choice)
    if reacquire is not None:
        tracker = watch(tracker, opened, choice, reacquire)
    with open_source(str(source), options) as frames:
        yield from track(frames, tracker, Box(*map(float, box)))
