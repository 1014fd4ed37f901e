"""The adapter to cv2.TrackerNano, on two small networks made here."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.export.evaluation.baselines import OpenCVNano
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box

onnx = pytest.importorskip("onnx", reason="needs siamedge[export]")
pytestmark = pytest.mark.skipif(not hasattr(cv2, "TrackerNano_Params"), reason="this OpenCV has no TrackerNano")
CHANNELS = 4


def save(path: Path, nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray]) -> Path:
    values = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, path.stem, inputs, outputs, values)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def tensor(name: str, *shape: int | str) -> object:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def make_networks(folder: Path, stride: int = 16) -> tuple[Path, Path]:
    """Brightness to the backbone's channels; bright cells score high and are 40 px wide."""
    node = onnx.helper.make_node
    pads = [stride // 2] * 4
    backbone = save(
        folder / "backbone.onnx",
        [node("Conv", ["input", "w"], ["output"], kernel_shape=[16, 16], strides=[stride, stride], pads=pads)],
        [tensor("input", 1, 3, "h", "w")],
        [tensor("output", 1, CHANNELS, "i", "j")],
        {"w": np.full((CHANNELS, 3, 16, 16), 1 / (3 * 256 * 255))},
    )
    scores = np.zeros((2, CHANNELS, 1, 1))
    scores[1] = 2
    head = save(
        folder / "head.onnx",
        [
            node("GlobalAveragePool", ["input1"], ["mean"]),
            node("Add", ["input2", "mean"], ["sum"]),
            node("Conv", ["sum", "ws"], ["output1"], kernel_shape=[1, 1]),
            node("Conv", ["sum", "wd", "bd"], ["output2"], kernel_shape=[1, 1]),
        ],
        [tensor("input1", 1, CHANNELS, 8, 8), tensor("input2", 1, CHANNELS, "i", "j")],
        [tensor("output1", 1, 2, "i", "j"), tensor("output2", 1, 4, "i", "j")],
        {"ws": scores, "wd": np.zeros((4, CHANNELS, 1, 1)), "bd": np.full(4, 20.0)},
    )
    return backbone, head


def test_it_gives_whole_pixels_and_a_score_and_can_be_started_again(tmp_path: Path) -> None:
    backbone, head = make_networks(tmp_path)
    tracker = open_spec(TrackerSpec(f"opencv:nano:{backbone},{head}"))
    picture = np.zeros((120, 160, 3), np.uint8)
    cv2.rectangle(picture, (60, 40), (89, 69), (255, 255, 255), -1)
    for start in (Box(60, 40, 30, 30), Box(58.4, 41.6, 30, 30)):
        tracker.init(picture, start)
        result = tracker.update(picture)
        assert all(number == int(number) for number in result.box)
        assert 0 <= result.score <= 1
        assert abs(result.box.center.x - 75) < 16
        assert not result.lost


def test_a_network_of_another_response_size_is_refused_with_a_reason(tmp_path: Path) -> None:
    backbone, head = make_networks(tmp_path, stride=15)
    tracker = OpenCVNano(backbone, head)
    picture = np.zeros((120, 160, 3), np.uint8)
    tracker.init(picture, Box(60, 40, 30, 30))
    with pytest.raises(BackendError, match=r"cv2.TrackerNano: ") as caught:
        tracker.update(picture)
    assert caught.value.hint == "it runs NanoTrack v1 and v2 only"


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(BackendError, match=r"cv2.TrackerNano: "):
        OpenCVNano(tmp_path / "a.onnx", tmp_path / "a.onnx")
