"""Mode opencv against cv2.TrackerNano itself, on real sequences: the same boxes, frame for frame."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from shared import shared_path

from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.opencv_dnn import SearchNetwork, TemplateNetwork, load_pair
from siamedge.runtime.tracking.opencv_mode import OpenCVNanoTracker, check_sizes
from siamedge.runtime.tracking.params import AnchorFreeParams, SiamFCParams

NANO = AnchorFreeParams(127, 255, 16, 16, -128.0, "softmax", 0.49, 0.15, 0.385)
SEQUENCES = {"bag.avi": 60, "OTB_Crossing": 119, "OTB_Human7": 120}
"""Sequence to the number of frames that are compared here; docs/opencv.md has all of them."""


def frames_of(name: str) -> Iterator[Image]:
    if name.endswith(".avi"):
        capture = cv2.VideoCapture(str(shared_path(f"videos/{name}")))
        while (read := capture.read())[0]:
            yield np.asarray(read[1], np.uint8)
        return
    for path in sorted(shared_path(f"sequences/{name}/img").glob("*.jpg")):
        yield np.asarray(cv2.imread(str(path)), np.uint8)


def start_of(name: str) -> tuple[int, int, int, int]:
    folder = "VOT15_bag" if name == "bag.avi" else name
    text = shared_path(f"sequences/{folder}/groundtruth.txt").read_text().splitlines()[0]
    x, y, w, h = (int(float(side)) for side in text.replace("\t", ",").split(","))
    return x, y, w, h


@pytest.fixture(scope="module", params=["v1", "v2"])
def onnx_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Backbone and head as NanoTrack publishes them: input1 is the template's features, input2 the search crop's."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    if not hasattr(cv2, "TrackerNano"):
        pytest.skip("this OpenCV has no TrackerNano")
    weights = shared_path(f"models/nanotrack/nanotrack{request.param}.pth")
    from siamedge.export.checkpoints.reading import load_network
    from siamedge.export.graphs.branches import fuse_norms

    network = load_network(weights, None).search.network
    fuse_norms(network.eval())

    class Head(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, input1: object, input2: object) -> tuple[object, object]:
            logits, log_distances = network.ban_head(input2, *network.ban_head.kernels(input1))
            return logits, torch.exp(log_distances)

    folder = tmp_path_factory.mktemp(request.param)
    crop, z, x = torch.rand(1, 3, 255, 255), torch.rand(1, 48, 8, 8), torch.rand(1, 48, 16, 16)
    dimensions = {2: torch.export.Dim("h", min=64, max=512), 3: torch.export.Dim("w", min=64, max=512)}
    shared = {"dynamo": True, "opset_version": 18, "verbose": False, "external_data": False}
    names = {"input_names": ["input1", "input2"], "output_names": ["output1", "output2"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.backbone, (crop,), folder / "backbone.onnx", dynamic_shapes=(dimensions,), **shared)
        torch.onnx.export(Head().eval(), (z, x), folder / "head.onnx", **names, **shared)
    return folder / "backbone.onnx", folder / "head.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_boxes_and_scores_are_those_of_opencv(onnx_pair: tuple[Path, Path], name: str) -> None:
    params = cv2.TrackerNano.Params()
    params.backbone, params.neckhead = map(str, onnx_pair)
    theirs = cv2.TrackerNano.create(params)
    ours = OpenCVNanoTracker(*load_pair(*onnx_pair), NANO)
    frames, start = frames_of(name), start_of(name)
    first = next(frames)
    theirs.init(first, start)
    ours.init(first, Box(*start))
    for _, frame in zip(range(SEQUENCES[name]), frames, strict=False):
        is_found, box = theirs.update(frame)
        result = ours.update(frame)
        assert is_found
        assert not result.lost
        assert tuple(result.box) == tuple(box)
        assert result.score == pytest.approx(theirs.getTrackingScore(), abs=2e-7)


def test_networks_that_opencv_cannot_run_are_refused() -> None:
    with pytest.raises(BackendError) as error:
        check_sizes(AnchorFreeParams(127, 255, 16, 15, -112.0, "softmax", 0.455, 0.138, 0.348))
    assert str(error.value) == (
        "mode opencv: template, search, response and stride are (127, 255, 15, 16), "
        "cv2.TrackerNano has (127, 255, 16, 16)"
    )
    with pytest.raises(BackendError) as error:
        check_sizes(SiamFCParams())
    assert str(error.value) == "mode opencv runs NanoTrack v1 and v2, this is another network"


def test_a_missing_onnx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as error:
        load_pair(tmp_path / "backbone.onnx", tmp_path / "head.onnx")
    assert str(error.value) == f"{tmp_path / 'backbone.onnx'}: no such file"


def test_opencvs_sessions_name_their_tensors() -> None:
    assert set(SearchNetwork.inputs) == {"search", *TemplateNetwork.outputs}
