"""The execution providers of ONNX Runtime and their options."""

from collections.abc import Mapping
from pathlib import Path

from siamedge.runtime.backends.backend import Precision

PROVIDERS: Mapping[str, str] = {
    "CPU": "CPUExecutionProvider",
    "GPU": "CUDAExecutionProvider",
    "TENSORRT": "TensorrtExecutionProvider",
    "OPENVINO": "OpenVINOExecutionProvider",
    "XNNPACK": "XnnpackExecutionProvider",
}
"""Device name to the provider that executes on it."""


def provider_options(device: str, precision: Precision, threads: int, engines: Path | None) -> dict[str, str]:
    """The options of a device's provider.

    Args:
        device: A key of PROVIDERS.
        precision: Of the model file; TensorRT computes an fp16 file in fp16 and an int8 one in int8.
        threads: For the providers that compute on the CPU with threads of their own.
        engines: Folder for what TensorRT compiles, which takes minutes; None: it is not kept.

    Source: the pages of the providers in ONNX Runtime's documentation.
    """
    if device == "GPU":
        return {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    if device == "TENSORRT":
        kept = {"trt_timing_cache_path": str(engines), "trt_engine_cache_path": str(engines)} if engines else {}
        return {
            "trt_fp16_enable": flag(precision != "fp32"),
            "trt_int8_enable": flag(precision == "int8"),
            "trt_engine_cache_enable": flag(engines is not None),
            "trt_timing_cache_enable": flag(engines is not None),
            **kept,
        }
    if device == "OPENVINO":
        return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}
    return {"intra_op_num_threads": str(threads)} if device == "XNNPACK" else {}


def flag(is_set: bool) -> str:
    """How ONNX Runtime reads a switch."""
    return "1" if is_set else "0"
