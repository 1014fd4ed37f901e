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

from siamedge.export.checkpoints import read_checkpoint
from siamedge.export.families.dart import DartConfig
from siamedge.export.families.nanotrack import V3, NanoTrack
from siamedge.export.families.source import load_weights
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import Box, Image, intersection_over_union

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
        ltrb: (N, 4, S, S) float32, how far its boxes reach left, up, right and down from the centres of the student's
            cells, search-crop px; nan like score.
    """

    template: NDArray[np.float16]
    search: NDArray[np.float16]
    score: NDArray[np.float32]
    ltrb: NDArray[np.float32]


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

    Raises:
        ExportError: The checkpoint is another.
    """

    def __init__(self, checkpoint: Path, cells: int = 16) -> None:
        network = NanoTrack(V3)
        try:
            load_weights(network, read_checkpoint(checkpoint).state, V3.arch, ignored=("neck.",))
        except ExportError as error:
            raise ExportError(f"{checkpoint}: {error}", hint="the teacher is nanotrackv3.pth as published") from error
        self._graph = _Graph(network).eval()
        self._cells = cells
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
        template, search, score, ltrb = (np.stack(values) for values in zip(*rows, strict=True))
        return View(template, search, score, ltrb)

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
        self._request.infer([_planes(template, TEMPLATE_PX), _planes(search, SEARCH_PX)])
        outputs = [self._request.get_output_tensor(number).data[0] for number in range(4)]
        score, ltrb = at_student_cells(outputs[2], self._cells), reach_at_student_cells(outputs[3], self._cells)
        ratio = np.float32((SEARCH_PX + 1) / search.shape[0])
        if not is_on_target(outputs[2], outputs[3], box * ratio):
            score, ltrb = np.full_like(score, np.nan), np.full_like(ltrb, np.nan)
        return outputs[0].astype(np.float16), outputs[1].astype(np.float16), score, ltrb / ratio


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


def reach_at_student_cells(log_ltrb: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Read the teacher's boxes at the student's cells.

    What is read between the teacher's cells is where a box's sides are, since neighbouring cells mean the same ones.

    Args:
        log_ltrb: (4, 15, 15) natural log of the distances left, top, right, bottom, px of 256.
        cells: S, of the student.

    Returns:
        (4, S, S) distances from the student's cells, px of 256; below 0 where a cell is outside the box.
    """
    theirs = STRIDE * (np.arange(log_ltrb.shape[-1], dtype=np.float32) + 1)
    mine = ((np.arange(cells) + 0.5) * (SEARCH_PX + 1) / cells).astype(np.float32)
    reach = []
    for log_distance, (axis, sign) in zip(log_ltrb, ((0, -1), (1, -1), (0, 1), (1, 1)), strict=True):
        lines, own = (np.expand_dims(places, axis) for places in (theirs, mine))
        side = lines + sign * np.exp(np.minimum(log_distance, 6.0))
        reach.append(sign * (at_student_cells(side, cells) - own))
    return np.stack(reach)


def is_on_target(probability: NDArray[np.float32], log_ltrb: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Whether the teacher's most probable box overlaps the true one by half.

    Args:
        probability: (15, 15).
        log_ltrb: (4, 15, 15) natural log of the distances left, top, right, bottom, search-crop px.
        box: Centre x, centre y, width, height, nan where the target is absent.
    """
    if np.isnan(box).any():
        return False
    row, column = np.unravel_index(int(probability.argmax()), probability.shape)
    x, y = STRIDE * (column + 1), STRIDE * (row + 1)
    left, top, right, bottom = np.exp(np.minimum(log_ltrb[:, row, column], 6.0)).tolist()
    found = Box(x - left, y - top, left + right, top + bottom)
    cx, cy, w, h = box.tolist()
    return intersection_over_union(found, Box(cx - w / 2, cy - h / 2, w, h)) >= _AGREES


def _planes(crop: Image, size: int) -> NDArray[np.float32]:
    if crop.shape[0] != size + 1:
        crop = cv2.resize(crop, (size + 1, size + 1)).astype(np.uint8, copy=False)
    planes: NDArray[np.float32] = np.ascontiguousarray(crop[:size, :size].transpose(2, 0, 1)[None], np.float32)
    return planes
