"""Optimised ONNX models: a whole entry under the same key is loaded, anything else is optimised again, never fatal."""

import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from times import SPECS, times_123

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.cache import CacheKey, CompiledCache
from siamedge.runtime.backends.onnxruntime_backend import OnnxRuntimeBackend, cache_key
from siamedge.runtime.backends.processor import cpu_signature

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
THREADS = {"threads": 1}
BACKEND = OnnxRuntimeBackend()


def times(factor: float) -> Model:
    """A model that computes y = factor * x."""
    value = onnx.helper.make_tensor_value_info
    ends = (value("x", onnx.TensorProto.FLOAT, (1, 3)), value("y", onnx.TensorProto.FLOAT, (1, 3)))
    constant = onnx.numpy_helper.from_array(np.full((1, 3), factor, np.float32), "k")
    nodes = [onnx.helper.make_node("Mul", ["x", "k"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "times", [ends[0]], [ends[1]], [constant])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return Model("times.onnx", "fp32", model.SerializeToString(), b"", *SPECS)


def key_of(model: Model) -> CacheKey:
    return cache_key(model, onnxruntime, "CPU", THREADS)


def test_the_second_load_uses_what_the_first_optimised(tmp_path: Path) -> None:
    cache, two, three = CompiledCache(tmp_path / "compiled"), times(2), times(3)
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert len(list(cache.folder.iterdir())) == 1
    # The proof that it is really read: an entry that (wrongly) holds another model gives that model's numbers.
    cache.write(key_of(three), cache.read(key_of(two)) or b"")
    assert times_123(three, BACKEND, cache) == [2, 4, 6]


def test_a_whole_entry_that_onnxruntime_refuses_is_optimised_again(tmp_path: Path) -> None:
    cache, two = CompiledCache(tmp_path / "compiled"), times(2)
    cache.write(key_of(two), b"no model")
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert cache.read(key_of(two)) != b"no model"


def test_a_damaged_entry_is_optimised_again(tmp_path: Path) -> None:
    cache, two = CompiledCache(tmp_path / "compiled"), times(2)
    times_123(two, BACKEND, cache)
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert times_123(two, BACKEND, cache) == [2, 4, 6]
    assert cache.read(key_of(two)) is not None


def test_a_model_that_cannot_be_kept_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files of 16 bytes at most, as on a full disk, and then no folder for temporary ones."""
    cache, limits = CompiledCache(tmp_path / "compiled"), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
        found = times_123(times(2), BACKEND, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert found == times_123(times(2), BACKEND, cache) == [2, 4, 6]
    assert caplog.text.count("compiled models are not kept") == 2
    assert not cache.folder.exists()


def test_the_key_holds_model_version_processor_and_threads() -> None:
    key = key_of(times(2))
    assert key.model_sha256 != key_of(times(3)).model_sha256
    assert key.options != cache_key(times(2), onnxruntime, "CPU", {"threads": 2}).options
    assert onnxruntime.__version__ in key.library
    assert key.device == f"CPU {cpu_signature()}"
