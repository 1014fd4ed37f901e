"""A published tracker's opinion on training pairs, for a network that learns from it (distillation).

The teacher is NanoTrack v3: it sees the same crops, and what it computes on the way is a target for every cell of the
picture where the true box is a target for one object alone.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siamedge.export.checkpoints.reading import read_checkpoint
from siamedge.export.families.dart import DartConfig
from siamedge.export.families.nanotrack import V3, NanoTrack
from siamedge.export.families.source import load_weights
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import Box, Image, Point, intersection_over_union
from siamedge.runtime.tracking.crops import context_side
from siamedge.training.crops.augmentation import affine_about, in_pixels

TEACHER_CHANNELS = 96
TEMPLATE_PX, SEARCH_PX = 127, 255
STRIDE = 16
_AGREES = 0.5
"""Overlap of the teacher's best box with the truth from which its score map is believed."""


class View(NamedTuple):
    """What the teacher makes of a batch of N pairs.

    Attributes:
        template: (N, 96, 8, 8) float16, its features of the template crop.
        search: (N, 96, 16, 16) float16, its features of the search crop.
        score: (N, S, S) float32, its probability of the target at the student's S x S cells; nan where the target is
            absent or the teacher's best box is not on it.
        box: (N, 4) float32 centre x, centre y, width, height, search-crop px, of its best box where it is shown the
            target in the middle and as large as its template; nan where that is not on the target, or it is absent.
    """

    template: NDArray[np.float16]
    search: NDArray[np.float16]
    score: NDArray[np.float32]
    box: NDArray[np.float32]


class Seen(NamedTuple):
    """What the teacher makes of one pair.

    Attributes:
        template: (96, 8, 8) float32, features of the template crop.
        search: (96, 16, 16) float32, features of the search crop.
        probability: (15, 15) float32, of the target.
        log_ltrb: (4, 15, 15) float32, natural log of the distances left, top, right, bottom, px of 256.
    """

    template: NDArray[np.float32]
    search: NDArray[np.float32]
    probability: NDArray[np.float32]
    log_ltrb: NDArray[np.float32]


def check_teacher(checkpoint: Path, config: DartConfig) -> None:
    """Make sure that a teacher can teach a network.

    Raises:
        ExportError: The checkpoint is not NanoTrack v3, or the network's crops are not those that it can see.
    """
    if config.search_px != 2 * config.template_px:
        raise ExportError(
            f"the network's search crop is {config.search_px} px and its template crop {config.template_px} px, "
            "the teacher's is twice as large as its template",
            hint="train it without --teacher",
        )
    Teacher(checkpoint)


class _Graph(nn.Module):
    """Both branches and the features on the way."""

    def __init__(self, network: NanoTrack) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """Crops -> template features, search features, probability (1, 15, 15), log distances (1, 4, 15, 15)."""
        template, search = self.network.backbone(z), self.network.backbone(x)
        logits, log_ltrb = self.network.ban_head(search, *self.network.ban_head.kernels(template))
        return template, search, logits.softmax(1)[:, 1], log_ltrb


class Teacher:
    """NanoTrack v3 over training pairs; compiled when first asked, so that a forked loader process has its own.

    Args:
        checkpoint: The published nanotrackv3.pth.
        cells: S, of the student.
        gives_boxes: Whether its boxes are wanted, which take a second look; without it View.box is nan.

    Raises:
        ExportError: The checkpoint is another.
    """

    def __init__(self, checkpoint: Path, cells: int = 16, *, gives_boxes: bool = False) -> None:
        network = NanoTrack(V3)
        try:
            load_weights(network, read_checkpoint(checkpoint).state, V3.arch, ignored=("neck.",))
        except ExportError as error:
            raise ExportError(f"{checkpoint}: {error}", hint="the teacher is nanotrackv3.pth as published") from error
        self._graph = _Graph(network).eval()
        self._cells, self._gives_boxes = cells, gives_boxes
        self._request: Any = None

    def view(self, templates: NDArray[np.uint8], searches: NDArray[np.uint8], boxes: NDArray[np.float32]) -> View:
        """Look at a batch.

        Args:
            templates: (N, Z, Z, 3) uint8 BGR; resized to 128 px, of which the teacher sees the first 127 rows and
                columns.
            searches: (N, X, X, 3) uint8 BGR; the same with 256 px and 255.
            boxes: (N, 4) centre x, centre y, width, height in search-crop px, nan where the target is absent.
        """
        self._request = self._request or self._compiled()
        rows = [self._one(*pair) for pair in zip(templates, searches, boxes, strict=True)]
        return View(*(np.stack(values) for values in zip(*rows, strict=True)))

    def _compiled(self) -> Any:
        import openvino  # type: ignore[import-untyped]

        example = torch.zeros(1, 3, TEMPLATE_PX, TEMPLATE_PX), torch.zeros(1, 3, SEARCH_PX, SEARCH_PX)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of tracing; torch.export takes ten times as long
            model = openvino.convert_model(self._graph, example_input=example, input=[tuple(e.shape) for e in example])
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def _one(
        self, template: Image, search: Image, box: NDArray[np.float32]
    ) -> tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float32], NDArray[np.float32]]:
        shown = _planes(template, TEMPLATE_PX)
        seen = self._see(shown, search)
        features = seen.template.astype(np.float16), seen.search.astype(np.float16)
        score = at_student_cells(seen.probability, self._cells)
        if not is_on_target(seen, box * np.float32((SEARCH_PX + 1) / search.shape[0])):
            score = np.full_like(score, np.nan)
        return *features, score, self._framed_box(shown, search, box)

    def _framed_box(
        self, template: NDArray[np.float32], search: Image, box: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Its box in a crop that is cut as for a tracker whose last box was the true one; see View.

        In one that was cut elsewhere or in another size its box errs towards where and how large it expects the target.
        """
        nothing = np.full(4, np.nan, np.float32)
        if not self._gives_boxes or np.isnan(box).any():
            return nothing
        frame = Frame.around(box)
        seen = self._see(template, frame.cut(search))
        return frame.outside(best_box(seen)) if is_on_target(seen, frame.inside(box)) else nothing

    def _see(self, template: NDArray[np.float32], search: Image) -> Seen:
        """Look at a pair; what it gives is overwritten by the next look."""
        self._request.infer([template, _planes(search, SEARCH_PX)])
        return Seen(*(self._request.get_output_tensor(number).data[0] for number in range(4)))


class Frame(NamedTuple):
    """A square of a search crop that becomes a crop of its own, of 256 px.

    Attributes:
        zoom: Its pixels a pixel of the search crop.
        x: Its centre in the search crop.
        y: See x.
    """

    zoom: float
    x: float
    y: float

    @classmethod
    def around(cls, box: NDArray[np.float32]) -> "Frame":
        """Cut around a box, (4,) centre x, centre y, width, height, as a tracker does: twice the template's square."""
        x, y, w, h = box.tolist()
        return cls((SEARCH_PX + 1) / (2 * context_side(w, h, 0.5)), x, y)

    def inside(self, box: NDArray[np.float32]) -> NDArray[np.float32]:
        """A box (4,) of the search crop, as it is in this one."""
        middle = np.float32((SEARCH_PX + 1) / 2)
        x, y, w, h = box
        placed = self.zoom * (x - self.x) + middle, self.zoom * (y - self.y) + middle, self.zoom * w, self.zoom * h
        return np.array(placed, np.float32)

    def outside(self, box: NDArray[np.float32]) -> NDArray[np.float32]:
        """A box (4,) of this crop, as it is in the search crop."""
        middle = np.float32((SEARCH_PX + 1) / 2)
        x, y, w, h = box / np.float32(self.zoom)
        return np.array((x - middle / self.zoom + self.x, y - middle / self.zoom + self.y, w, h), np.float32)

    def cut(self, search: Image) -> Image:
        """Make the crop, (256, 256, 3); what lies beyond the search crop gets its mean colour."""
        size, color = SEARCH_PX + 1, search.mean((0, 1)).tolist()
        affine = affine_about(self.zoom * np.eye(2), np.array((self.x, self.y)), np.full(2, size / 2))
        return cv2.warpAffine(search, in_pixels(affine), (size, size), borderValue=color).astype(np.uint8, copy=False)


def at_student_cells(probability: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Read a map whose cells lie at 16 + 16 j px of 256, (15, 15), at the student's, (cells, cells), bilinear.

    The student's cells divide the picture evenly, the first one's centre half a cell from its edge; beyond the
    teacher's outermost cells their value holds.
    """
    size = probability.shape[0]
    places = np.clip((np.arange(cells) + 0.5) * (SEARCH_PX + 1) / (cells * STRIDE) - 1, 0, size - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)
    between: NDArray[np.float32] = weights @ probability @ weights.T
    return between


def best_box(seen: Seen) -> NDArray[np.float32]:
    """The teacher's most probable box, (4,) centre x, centre y, width, height, px of 256."""
    row, column = np.unravel_index(int(seen.probability.argmax()), seen.probability.shape)
    left, top, right, bottom = np.exp(np.minimum(seen.log_ltrb[:, row, column], 6.0)).tolist()
    x, y = STRIDE * (column + 1), STRIDE * (row + 1)
    return np.array((x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom), np.float32)


def is_on_target(seen: Seen, box: NDArray[np.float32]) -> bool:
    """Whether the teacher's most probable box overlaps the true one by half.

    Args:
        seen: What the teacher makes of a pair.
        box: Centre x, centre y, width, height, px of 256; nan where the target is absent.
    """
    if np.isnan(box).any():
        return False
    return intersection_over_union(_box(best_box(seen)), _box(box)) >= _AGREES


def _box(values: NDArray[np.float32]) -> Box:
    x, y, w, h = values.tolist()
    return Box.around(Point(x, y), w, h)


def _planes(crop: Image, size: int) -> NDArray[np.float32]:
    if crop.shape[0] != size + 1:
        crop = cv2.resize(crop, (size + 1, size + 1)).astype(np.uint8, copy=False)
    planes: NDArray[np.float32] = np.ascontiguousarray(crop[:size, :size].transpose(2, 0, 1)[None], np.float32)
    return planes
