"""A device that does not execute a model is an error; with --allow-fallback the CPU takes its place, and it is said."""

from pathlib import Path

import pytest

from siamedge.runtime.backends.onnxruntime_providers import PROVIDERS, provider_options
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import load_sessions, pick, pick_or_cpu
from siamedge.runtime.errors import BackendError

onnxruntime = pytest.importorskip("onnxruntime")
LISTED = "AzureExecutionProvider"
"""ONNX Runtime's packages list it; it runs models of a service, none of ours."""


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device of ONNX Runtime that is listed and executes nothing."""
    if LISTED not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime does not list {LISTED}")
    monkeypatch.setitem(PROVIDERS, "AZURE", LISTED)
    return "AZURE"


def test_a_provider_that_is_listed_and_executes_nothing_is_refused(listed: str, default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    choice = pick(bundle, backend="onnxruntime", device=listed).choice
    with pytest.raises(BackendError, match=r"template\.onnx: onnxruntime refuses the model: .*fallback to CPU EP"):
        load_sessions(bundle, choice)


def test_with_fallback_the_cpu_takes_its_place_and_says_why(listed: str, default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    picked, reason = pick_or_cpu(bundle, backend="onnxruntime", device=listed)
    assert (picked.choice.backend, picked.choice.device) == ("onnxruntime", "CPU")
    assert reason is not None
    assert "onnxruntime refuses the model" in reason


def test_a_device_that_is_not_there_falls_back_too(default_bundle: Path) -> None:
    picked, reason = pick_or_cpu(Bundle.open(default_bundle), device="NPU")
    assert picked.choice.device == "CPU"
    assert (reason or "").startswith(f"no backend can run {default_bundle.name} here: ")


def test_the_cpu_has_nothing_to_fall_back_to(default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    assert pick_or_cpu(bundle) == (pick(bundle), None)
    with pytest.raises(BackendError):
        pick_or_cpu(bundle, precision="bf16")


def test_every_provider_gets_its_own_options(tmp_path: Path) -> None:
    found = {device: provider_options(device, "int8", 2, tmp_path) for device in PROVIDERS}
    assert found["CPU"] == {}
    assert found["XNNPACK"] == {"intra_op_num_threads": "2"}
    assert found["OPENVINO"] == {"device_type": "CPU", "precision": "FP32", "num_of_threads": "2"}
    assert found["GPU"] == {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    assert found["TENSORRT"] == {
        "trt_fp16_enable": "1", "trt_int8_enable": "1", "trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1",
        "trt_engine_cache_path": str(tmp_path), "trt_timing_cache_path": str(tmp_path),
    }  # fmt: skip
    exact = provider_options("TENSORRT", "fp32", 1, None)
    assert set(exact.values()) == {"0"}
