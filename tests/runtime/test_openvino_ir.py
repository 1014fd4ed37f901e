"""OpenVINO reads the attribute that is put into its XML, wherever other attributes were before."""

from pathlib import Path

import numpy as np
import pytest

from siamedge.runtime.backends.openvino_ir import PLAIN_PRODUCTS, with_plain_products

openvino = pytest.importorskip("openvino")


def saved_convolutions(folder: Path) -> tuple[bytes, bytes]:
    """Two convolutions, one after the other; the first has an attribute of its own already."""
    ops = openvino.opset13
    x = ops.parameter([1, 2, 6, 6], np.float32, name="x")
    weights = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3)
    first = ops.convolution(x, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    second = ops.convolution(first, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    openvino.save_model(openvino.Model([ops.result(second)], [x], "two"), folder / "m.xml", compress_to_fp16=False)
    content = (folder / "m.xml").read_text()
    head, layer, rest = content.partition('type="Convolution"')
    own = '<rt_info><attribute name="fused_names" version="0" value="first" /></rt_info>'
    return (head + layer + rest.replace("<input>", f"{own}<input>", 1)).encode(), (folder / "m.bin").read_bytes()


def test_every_convolution_has_it_and_computes_the_same(tmp_path: Path) -> None:
    content, weights = saved_convolutions(tmp_path)
    core = openvino.Core()
    before, after = (core.read_model(model=item, weights=weights) for item in (content, with_plain_products(content)))
    key = f"{PLAIN_PRODUCTS['name']}_{PLAIN_PRODUCTS['version']}"
    names = [[key in node.get_rt_info() for node in model.get_ordered_ops()] for model in (before, after)]
    kinds = [node.get_type_name() for node in after.get_ordered_ops()]
    assert not any(names[0])
    assert names[1] == [kind == "Convolution" for kind in kinds]
    assert kinds.count("Convolution") == 2
    picture = np.random.default_rng(0).integers(0, 9, (1, 2, 6, 6)).astype(np.float32)
    one, other = (core.compile_model(model, "CPU")(picture)[0] for model in (before, after))
    np.testing.assert_array_equal(one, other)


def test_what_is_no_xml_stays_for_openvino_to_refuse() -> None:
    assert with_plain_products(b"<net><layers>") == b"<net><layers>"
