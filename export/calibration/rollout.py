"""Crops that a tracker really sees: its own search crops while it follows targets through videos."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from siamedge.export.annotations import read_boxes
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.targets import find_target
from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import TorchSession
from siamedge.runtime.errors import ExportError, SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.recordings import clips_in
from siamedge.runtime.sources.source import open_source
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import check_init

FRAMES_PER_TARGET = 30
"""After so many frames a new target is taken, so that there are several templates."""
FRAMES_PER_CLIP = 240
Clip = Iterator[tuple[Image, Box | None]]
SYNTHETIC_SEEDS = (11, 12, 13, 14)


@dataclass(slots=True)
class CropRecorder:
    """Keeps the crops with which two sessions are run, each search crop with the template whose kernels it was fed."""

    network: SourceNetwork
    templates: list[Array] = field(default_factory=list)
    searches: list[Array] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    _begun: int = 0
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def sessions(self) -> tuple["RecordingSession", "RecordingSession"]:
        """Template and search session that report to this recorder."""
        template, search = TorchSession(self.network, "template"), TorchSession(self.network, "search")
        return RecordingSession(template, self.note_template), RecordingSession(search, self.note_search)

    def begin_target(self) -> None:
        """Templates from here on show another target; a tracker may take several of one."""
        self._begun += 1

    def note_template(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> None:
        """Keep a template crop."""
        self._numbers[self._identity(given)] = len(self.templates)
        self.templates.append(feeds["template"][0].copy())
        self.targets.append(self._begun)

    def note_search(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> None:
        """Keep a search crop; a tracker may go back to an earlier look of its target."""
        self.searches.append(feeds["search"][0].copy())
        self.pairs.append(self._numbers[self._identity(feeds)])

    def _identity(self, tensors: Mapping[str, Array]) -> bytes:
        return b"".join(tensors[name].tobytes() for name in self.network.kernels)


class RecordingSession:
    """A TorchSession that shows somebody what it was fed and what it gave."""

    def __init__(self, session: TorchSession, note: Callable[[Mapping[str, Array], Mapping[str, Array]], None]) -> None:
        self._session, self._note = session, note
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute, and note both."""
        given = self._session.run(feeds)
        self._note(feeds, given)
        return given

    def close(self) -> None:
        """Nothing to free."""
        self._session.close()


def collect_crops(
    network: SourceNetwork, addresses: Sequence[str], count: int, seed: int | None = None, purpose: str = "calibration"
) -> CalibrationSet:
    """Roll a source network's tracker out on videos and keep an even choice of what it saw.

    Args:
        network: Trained.
        addresses: Videos, folders of images, or folders of those. Boxes are read from groundtruth.txt in a folder or
            NAME.txt beside a video (x,y,w,h a row, pixels); without them what moves is followed, or where nothing moves
            what has the strongest texture.
        count: Search crops to keep, > 0; fewer if there are fewer different ones.
        seed: Of a random choice among all; None: an even choice.
        purpose: What the crops are for, as errors call it.

    Raises:
        ExportError: A source cannot be read or has fewer than two frames with a target.
    """
    recorder = CropRecorder(network)
    tracker = make_tracker(network.family, *recorder.sessions(), network.params)
    for clip in (clip for address in addresses for clip in clips_in(address)):
        has_target = was_followed = False
        for image, box in read_clip(clip, purpose):
            if box is not None:
                recorder.begin_target()
                tracker.init(image, box)
                has_target = True
            elif has_target:
                tracker.update(image)
                was_followed = True
        if not was_followed:
            raise ExportError(f"{purpose}: {clip}: fewer than 2 frames with a target", hint="give a longer video")
    return choose_evenly(recorder, count, seed)


def read_clip(address: str, purpose: str) -> Clip:
    """Give the first FRAMES_PER_CLIP frames of a source, each that begins a target with its box.

    Raises:
        ExportError: The source cannot be read.
    """
    try:
        boxes = read_targets(address)
        with open_source(address) as source:
            images = (frame.image for frame in islice(source, FRAMES_PER_CLIP))
            yield from _with_annotation(images, boxes) if boxes else _with_found_targets(images)
    except SourceError as error:
        raise ExportError(f"{purpose}: {error}", hint=error.hint) from error


def _with_annotation(images: Iterator[Image], boxes: list[Box | None]) -> Clip:
    for index, image in enumerate(images):
        box = boxes[index] if index < len(boxes) and index % FRAMES_PER_TARGET == 0 else None
        yield image, box if box and can_start(image, box) else None


def can_start(image: Image, box: Box) -> bool:
    """Whether a tracker takes a box of an image."""
    try:
        check_init(image, box)
    except SourceError:
        return False
    return True


def _with_found_targets(images: Iterator[Image]) -> Clip:
    """Begin at every second picture after FRAMES_PER_TARGET: what moves shows only between two."""
    before: Image | None = None
    taken: list[Box] = []
    for index, image in enumerate(images):
        is_start = before is not None and index % FRAMES_PER_TARGET == 1
        if before is not None and is_start:
            taken.append(find_target(before, image, taken))
        yield image, taken[-1] if is_start else None
        before = image


def read_targets(address: str) -> list[Box | None]:
    """Read the boxes that belong to a folder or video, if there are any; frames without a target give None.

    Raises:
        SourceError: A row is no box.
    """
    path = Path(address)
    file = path / "groundtruth.txt" if path.is_dir() else path.with_suffix(".txt")
    rows = read_boxes(file).tolist() if file.is_file() else []
    return [Box(*row) if np.isfinite(row).all() and min(row[2:]) > 0 else None for row in rows]


def choose_evenly(recorder: CropRecorder, count: int, seed: int | None = None) -> CalibrationSet:
    """Keep an even choice of different search crops, or by a seed a random one, and the templates that they need."""
    seen: dict[bytes, int] = {}
    for i, crop in enumerate(recorder.searches):
        seen.setdefault(crop.tobytes(), i)
    distinct = list(seen.values())
    kept = min(count, len(distinct))
    even = np.linspace(0, len(distinct) - 1, kept).round().astype(int)
    chosen = even if seed is None else np.sort(np.random.default_rng(seed).permutation(len(distinct))[:kept])
    picked = [distinct[i] for i in chosen]
    used = sorted({recorder.pairs[i] for i in picked})
    return CalibrationSet(
        templates=np.stack([recorder.templates[i] for i in used]),
        searches=np.stack([recorder.searches[i] for i in picked]),
        pairs=np.array([used.index(recorder.pairs[i]) for i in picked], np.int64),
        targets=np.array([recorder.targets[i] for i in used], np.int64),
    )


def render_crops(network: SourceNetwork, count: int, seeds: Sequence[int] = SYNTHETIC_SEEDS) -> CalibrationSet:
    """Collect crops from synthetic scenes of our own: for verification where no video was given."""
    recorder = CropRecorder(network)
    tracker = make_tracker(network.family, *recorder.sessions(), network.params)
    for seed in seeds:
        scene = SyntheticSource(seed=seed, frames=2 * FRAMES_PER_TARGET)
        for frame in scene:
            if frame.index % FRAMES_PER_TARGET == 0:
                recorder.begin_target()
                tracker.init(frame.image, scene.box_at(frame.index))
            else:
                tracker.update(frame.image)
    return choose_evenly(recorder, count)
