"""Backends load what fits, refuse what does not, and say why they cannot be used."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_network import make_network

from siamedge.export.formats.converters import make_converter
from siamedge.runtime.backends.backend import FORMATS, Backend, LendingSession, Model, get_backend
from siamedge.runtime.backends.fake_backend import FakeBackend
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import TensorSpec

BACKEND_OF = {"onnx": "onnxruntime", "tflite": "tflite", "openvino": "openvino"}
CROP = TensorSpec("template", (1, 32, 32, 3), "uint8", "NHWC")


@pytest.fixture(scope="module", params=FORMATS)
def loaded(request: pytest.FixtureRequest) -> tuple[Backend, Model]:
    """A backend and a template graph for it."""
    pytest.importorskip("litert_torch" if request.param == "tflite" else "onnxscript")
    pair = make_converter(request.param, make_network()).convert("fp32")
    return get_backend(BACKEND_OF[request.param]), pair.template.as_model("template.model", "fp32")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_folder_that_a_removed_library_leaves_is_no_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    reason = get_backend(name).unavailable("CPU") or ""
    assert "is not installed" in reason
    assert "(pip install 'siamedge[" in reason


def test_a_session_reuses_feeds_that_were_changed_in_place(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    session = backend.load(model, device="CPU", threads=1)
    crop = np.zeros(model.inputs[0].shape, model.inputs[0].dtype)
    dark = session.run({"template": crop})["matrix"].copy()
    crop[:] = 200
    bright = session.run({"template": crop})["matrix"].copy()
    again = session.run({"template": crop.copy()})["matrix"].copy()
    assert not np.array_equal(dark, bright)
    np.testing.assert_array_equal(bright, again)


def test_feeds_are_checked_by_name_shape_and_type(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    session = backend.load(model, device="CPU", threads=1)
    dtype, shape = model.inputs[0].dtype, model.inputs[0].shape
    for feeds, found in (
        ({}, "nothing"),
        ({"search": np.zeros(shape, dtype)}, f"search {dtype} {shape}"),
        ({"template": np.zeros((1, 32, 3, 32), dtype)}, f"template {dtype} (1, 32, 3, 32)"),
        ({"template": np.zeros(shape, np.float64)}, f"template float64 {shape}"),
    ):
        with pytest.raises(BackendError) as caught:
            session.run(feeds)
        assert str(caught.value) == f"template.model: fed with {found}; it takes template {dtype} {shape}"


def test_a_closed_session_says_so(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    session = backend.load(model, device="CPU", threads=1)
    session.close()
    with pytest.raises(BackendError) as caught:
        session.run({"template": np.zeros(model.inputs[0].shape, model.inputs[0].dtype)})
    assert str(caught.value) == "template.model: the session is closed"


def test_tensors_other_than_promised_are_named_on_both_sides(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    crop, *_ = model.inputs
    outputs = "matrix float32 (1, 16, 16), window float32 "
    for changed, message in (
        (
            model._replace(inputs=(crop._replace(name="patch"),)),
            f"inputs are template {crop.dtype} {crop.shape}; the manifest says patch {crop.dtype} {crop.shape}",
        ),
        (
            model._replace(inputs=(crop._replace(shape=(1, 64, 64, 3)),)),
            f"inputs are template {crop.dtype} {crop.shape}; the manifest says template {crop.dtype} (1, 64, 64, 3)",
        ),
        (
            model._replace(outputs=model.outputs[:1]),
            f"outputs are {outputs}{model.outputs[1].shape}; the manifest says",
        ),
    ):
        with pytest.raises(BackendError) as caught:
            backend.load(changed, device="CPU", threads=1)
        assert str(caught.value).startswith(f"template.model: {message}")
        assert caught.value.hint == "export the bundle again"


def test_a_damaged_model_is_refused(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    with pytest.raises(BackendError, match=r"template\.model: .* refuses the model"):
        backend.load(model._replace(content=model.content[:200]), device="CPU", threads=1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("onnxruntime", "no TPU; this onnxruntime "), ("tflite", "no TPU; siamedge runs LiteRT on CPU"),
     ("openvino", "no TPU; OpenVINO sees CPU")],
)  # fmt: skip
def test_a_device_that_is_not_there_names_those_that_are(name: str, reason: str) -> None:
    backend = get_backend(name)
    if backend.unavailable("CPU"):
        pytest.skip(f"{name} is not installed")
    assert (backend.unavailable("TPU") or "").startswith(reason)
    model = Model("m", "fp32", b"", b"", (CROP,), ())
    with pytest.raises(BackendError, match="m: no TPU"):
        backend.load(model, device="TPU", threads=1)


@pytest.mark.parametrize(
    ("name", "modules", "message"),
    [
        ("onnxruntime", ["onnxruntime"], "onnxruntime is not installed (pip install 'siamedge[onnx]')"),
        ("openvino", ["openvino"], "openvino is not installed (pip install 'siamedge[openvino]')"),
        ("tflite", ["ai_edge_litert.interpreter", "tflite_runtime.interpreter"], "LiteRT is not installed "
         "(pip install 'siamedge[tflite]')"),
    ],
)  # fmt: skip
def test_a_missing_library_says_what_to_install(
    name: str, modules: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    assert get_backend(name).unavailable("CPU") == message


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tflite"])
def test_a_library_that_is_there_and_does_not_load_is_not_called_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("onnxruntime", "openvino", "ai_edge_litert"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
        for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, loaded)
    library = "ai-edge-litert" if name == "tflite" else name
    reason = f"{library} does not load: libgomp.so.1: cannot open shared object file ("
    assert (get_backend(name).unavailable("CPU") or "").startswith(reason)


def test_an_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(BackendError) as caught:
        get_backend("tensorrt")
    assert str(caught.value) == "unknown backend 'tensorrt'"
    assert caught.value.hint == "choose one of tflite, openvino, onnxruntime"


def test_the_fake_computes_a_function_and_checks_like_a_real_one() -> None:
    out = TensorSpec("mean", (1,), "float32", "NPC")
    model = Model("fake.model", "fp32", b"", b"", (CROP,), (out,))
    backend = FakeBackend(lambda feeds: {"mean": feeds["template"].mean(dtype=np.float32).reshape(1)})
    session = backend.load(model, device="CPU", threads=1)
    np.testing.assert_allclose(session.run({"template": np.full(CROP.shape, 3, np.uint8)})["mean"], [3.0])
    with pytest.raises(BackendError, match=r"fake\.model: fed with nothing"):
        session.run({})
    wrong = FakeBackend(lambda _: {}).load(model, device="CPU", threads=1)
    with pytest.raises(BackendError, match=r"fake\.model: outputs are nothing; the manifest says mean float32 \(1,\)"):
        wrong.run({"template": np.zeros(CROP.shape, np.uint8)})
    with pytest.raises(BackendError, match="m: driver too old"):
        FakeBackend(lambda _: {}, missing="driver too old").load(model._replace(name="m"), device="CPU", threads=1)


def test_memory_that_a_session_lends_is_read_as_it_is_and_outlives_it(loaded: tuple[Backend, Model]) -> None:
    backend, model = loaded
    session = backend.load(model, device="CPU", threads=1)
    if not isinstance(session, LendingSession):
        pytest.skip(f"{backend.name} binds the caller's memory")
    crop = np.random.default_rng(0).integers(0, 256, model.inputs[0].shape).astype(model.inputs[0].dtype)
    frozen = np.zeros_like(crop)
    frozen.flags.writeable = False
    expected, other = (session.run({"template": feed})["matrix"].copy() for feed in (crop, frozen))
    memory = session.memory("template")
    for _ in range(2):
        memory[:] = crop
        np.testing.assert_array_equal(session.run({"template": memory})["matrix"], expected)
        np.testing.assert_array_equal(session.run({"template": frozen})["matrix"], other)
    session.close()
    del session
    memory[:] = 1
    assert memory.sum() == memory.size
