"""The two published ONNX files of NanoTrack v1 or v2, run by OpenCV's own network library as cv2.TrackerNano does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.opencv_mode import CELLS, SEARCH_PX, TEMPLATE_PX

TEMPLATE = TensorSpec("template", (1, TEMPLATE_PX, TEMPLATE_PX, 3), "uint8", "NHWC")
SEARCH = TensorSpec("search", (1, SEARCH_PX, SEARCH_PX, 3), "uint8", "NHWC")
FEATURES = TensorSpec("features", (1, 48, 8, 8), "float32", "NCHW")
SCORES = TensorSpec("cls", (1, 2, CELLS, CELLS), "float32", "NCHW")
DISTANCES = TensorSpec("ltrb", (1, 4, CELLS, CELLS), "float32", "NCHW")


def read_network(path: Path) -> Any:
    """Load an ONNX file into OpenCV.

    Raises:
        BackendError: OpenCV cannot read it.
    """
    if not path.is_file():
        raise BackendError(f"{path}: no such file", hint="give the backbone and the head of NanoTrack as ONNX files")
    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise BackendError(f"{path.name}: OpenCV cannot read it: {error}") from error


class TemplateNetwork:
    """Template crop -> features."""

    inputs: Mapping[str, TensorSpec] = {TEMPLATE.name: TEMPLATE}
    outputs: Mapping[str, TensorSpec] = {FEATURES.name: FEATURES}

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute the features."""
        self._backbone.setInput(cv2.dnn.blobFromImage(feeds[TEMPLATE.name][0]))
        return {FEATURES.name: self._backbone.forward().copy()}

    def close(self) -> None:
        """Forget the network."""
        self._backbone = None


class SearchNetwork:
    """Search crop and the template's features -> logits and distances; the head's second output has its exp inside."""

    inputs: Mapping[str, TensorSpec] = {SEARCH.name: SEARCH, FEATURES.name: FEATURES}
    outputs: Mapping[str, TensorSpec] = {SCORES.name: SCORES, DISTANCES.name: DISTANCES}

    def __init__(self, backbone: Any, head: Any) -> None:
        self._backbone, self._head = backbone, head

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute the outputs.

        Raises:
            BackendError: The files are not those of NanoTrack v1 or v2.
        """
        self._backbone.setInput(cv2.dnn.blobFromImage(feeds[SEARCH.name][0]))
        try:
            self._head.setInput(feeds[FEATURES.name], "input1")
            self._head.setInput(self._backbone.forward(), "input2")
            scores, distances = self._head.forward(["output1", "output2"])
        except cv2.error as error:
            raise BackendError(f"these are not backbone and head of NanoTrack v1 or v2: {error}") from error
        return {SCORES.name: scores, DISTANCES.name: distances}

    def close(self) -> None:
        """Forget the networks."""
        self._backbone = self._head = None


def load_pair(backbone: Path, head: Path) -> tuple[Session, Session]:
    """Load the published pair of ONNX files.

    Returns:
        Template and search session for OpenCVNanoTracker, with the numbers of cv2.TrackerNano bit for bit.

    Raises:
        BackendError: A file is missing or OpenCV cannot read it.
    """
    features = read_network(backbone)
    return TemplateNetwork(features), SearchNetwork(features, read_network(head))
