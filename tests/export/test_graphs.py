"""Exported graphs take BGR crops in the layout of a format and leave the source network alone."""

import numpy as np
import pytest
import torch
from small_network import make_calibration, make_network, run_source

from siamedge.export.graphs.branches import TensorStyle, make_graphs
from siamedge.runtime.tensors import TensorSpec

NCHW_STYLE = TensorStyle("uint8", "NHWC", "NCHW")
NHWC_STYLE = TensorStyle("float32", "NHWC", "NHWC")


@pytest.mark.parametrize("color", ["BGR", "RGB"])
@pytest.mark.parametrize("mean", [(114.0, 114.0, 114.0), (90.0, 114.0, 130.0)])
def test_bgr_crops_give_what_the_network_gives_in_its_own_order(color: str, mean: tuple[float, float, float]) -> None:
    network, calibration = make_network(color, mean), make_calibration(1)
    expected = run_source(network, calibration.templates[0], calibration.searches[0])
    template, search = make_graphs(network, NCHW_STYLE)
    with torch.no_grad():
        kernels = template(template=torch.from_numpy(calibration.templates))
        outputs = search(search=torch.from_numpy(calibration.searches), **kernels)
    for name, value in (kernels | outputs).items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-3)


def test_tensors_are_declared_in_the_layout_of_the_style() -> None:
    template, search = make_graphs(make_network(), NHWC_STYLE)
    assert template.outputs == (
        TensorSpec("matrix", (1, 16, 16), "float32", "NPC"),
        TensorSpec("window", (1, 2, 2, 16), "float32", "NHWC"),
    )
    assert search.inputs == (TensorSpec("search", (1, 64, 64, 3), "float32", "NHWC"), *template.outputs)
    assert search.outputs == (
        TensorSpec("cls", (1, 8, 8, 2), "float32", "NHWC"),
        TensorSpec("log_ltrb", (1, 7, 7, 4), "float32", "NHWC"),
        TensorSpec("response", (1, 5, 5, 1), "float32", "NHWC"),
    )


def test_the_source_network_is_not_changed() -> None:
    network = make_network("RGB")
    before = {name: value.clone() for name, value in network.search.state_dict().items()}
    make_graphs(network, NCHW_STYLE)
    after = network.search.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
