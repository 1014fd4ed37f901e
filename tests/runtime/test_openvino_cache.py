"""Compiled OpenVINO models: what a cache holds is imported; what it should not hold is compiled again, not fatal."""

from pathlib import Path

import numpy as np
import pytest
from times import SPECS, times_123

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.cache import CompiledCache
from siamedge.runtime.backends.openvino_backend import OpenVINOBackend, cache_key

openvino = pytest.importorskip("openvino")
CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
BACKEND = OpenVINOBackend()


def times(factor: float, folder: Path) -> Model:
    """A model that computes y = factor * x."""
    ops = openvino.opset13
    x = ops.parameter([1, 3], np.float32, name="x")
    x.output(0).set_names({"x"})
    y = ops.multiply(x, ops.constant(np.full((1, 3), factor, np.float32)))
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([ops.result(y)], [x], "times"), folder / "m.xml", compress_to_fp16=False)
    return Model("times.xml", "fp32", (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes(), *SPECS)


def test_the_second_load_uses_what_the_first_compiled(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path / "compiled")
    two, three = times(2, tmp_path), times(3, tmp_path)
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert len(list(cache.folder.iterdir())) == 1
    # The proof that it is really read: an entry that (wrongly) holds another model gives that model's numbers.
    cache.write(cache_key(three, openvino, "CPU", CONFIG), cache.read(cache_key(two, openvino, "CPU", CONFIG)) or b"")
    assert times_123(three, BACKEND, cache) == [2, 4, 6]


def test_a_whole_entry_that_openvino_refuses_is_compiled_again(tmp_path: Path) -> None:
    cache, two = CompiledCache(tmp_path / "compiled"), times(2, tmp_path)
    key = cache_key(two, openvino, "CPU", CONFIG)
    cache.write(key, b"no blob of OpenVINO")
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert cache.read(key) != b"no blob of OpenVINO"


def test_a_damaged_entry_is_compiled_again(tmp_path: Path) -> None:
    cache, two = CompiledCache(tmp_path / "compiled"), times(2, tmp_path)
    times_123(two, BACKEND, cache)
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert path.read_bytes()[:200] == whole[:200]
    assert cache.read(cache_key(two, openvino, "CPU", CONFIG)) is not None


def test_the_key_holds_model_version_device_and_options(tmp_path: Path) -> None:
    two, three = times(2, tmp_path), times(3, tmp_path)
    key = cache_key(two, openvino, "CPU", CONFIG)
    assert key.model_sha256 != cache_key(three, openvino, "CPU", CONFIG).model_sha256
    assert key.options != cache_key(two, openvino, "CPU", {**CONFIG, "INFERENCE_NUM_THREADS": 2}).options
    assert openvino.__version__ in key.library
    assert key.device.startswith("CPU ")
