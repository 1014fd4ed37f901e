"""Run a tiny model on every device of one inference library and print what happened as one line of JSON.

This file is sent to devices as it is: `python3 - BACKEND < probe.py`. It needs numpy and the library, nothing of
siamedge. The models compute relu(x @ W) for 4 values; scripts/make_probe_models.py made them.
"""

import base64
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

X = [[1.0, 2.0, 3.0, 4.0]]
Y = [7.0, 14.0, 0.0, 4.0]
ONNX = (
    "CAg6nwEKEQoBeAoBdxIBbSIGTWF0TXVsCgwKAW0SAXkiBFJlbHUSBXByb2JlKksIBAgEEAFCAXdKQAAAgD8AAAAAAACAvwAAAEAAAAAAAACAPwAA"
    "gL8AAIA/AAAAQAAAAAAAAIC/AAAAAAAAAAAAAEBAAACAvwAAAABaEwoBeBIOCgwIARIICgIIAQoCCARiEwoBeRIOCgwIARIICgIIAQoCCARCBAoA"
    "EA0="
)
TFLITE = (
    "GAAAAFRGTDMAAA4AGAAUABAADAAIAAQADgAAABQAAAB4AAAAgAAAAJQBAAADAAAAAgAAAGAAAAAMAAAAAAAGAAgABAAGAAAABAAAAEAAAAAAAIA/"
    "AAAAAAAAAEAAAAAAAAAAAAAAgD8AAAAAAABAQAAAgL8AAIC/AACAvwAAgL8AAABAAACAPwAAAAAAAAAABAAEAAQAAAAFAAAAcHJvYmUAAAABAAAA"
    "EAAAAAwAFAAQAAwACAAEAAwAAAAQAAAAYAAAAGQAAABoAAAAAQAAABQAAAAAAA4AFgAAABAADAALAAQADgAAABgAAAAAAAAIGAAAABwAAAAAAAYA"
    "CAAHAAYAAAAAAAABAQAAAAIAAAADAAAAAAAAAAEAAAD/////AQAAAAIAAAABAAAAAAAAAAMAAABoAAAANAAAAAQAAACw////CAAAAAwAAAABAAAA"
    "eQAAAAIAAAABAAAABAAAAAwAEAAMAAAACAAEAAwAAAAMAAAAAQAAAAwAAAABAAAAdwAAAAIAAAAEAAAABAAAAAwADAAIAAAAAAAEAAwAAAAIAAAA"
    "DAAAAAEAAAB4AAAAAgAAAAEAAAAEAAAAAQAAABAAAAAMAAwACwAAAAAABAAMAAAACQAAAAAAAAk="
)
W = [1, 0, -1, 2, 0, 1, -1, 1, 2, 0, -1, 0, 0, 3, -1, 0]
IR = """<net name="probe" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" shape="4,4" offset="0" size="64"/>
<output><port id="0" precision="FP32"><dim>4</dim><dim>4</dim></port></output></layer>
<layer id="2" name="m" type="MatMul" version="opset1"><data transpose_a="false" transpose_b="false"/>
<input><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port>
<port id="1" precision="FP32"><dim>4</dim><dim>4</dim></port></input>
<output><port id="2" precision="FP32"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="3" name="y" type="ReLU" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></input>
<output><port id="1" precision="FP32" names="y"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="4" name="r" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
<edge from-layer="3" from-port="1" to-layer="4" to-port="0"/></edges></net>"""

Report = dict[str, Any]


def onnxruntime() -> tuple[str, list[Report]]:
    """Every execution provider that this build of ONNX Runtime lists."""
    library = import_module("onnxruntime")

    library.set_default_logger_severity(4)
    reports = []
    for provider in library.get_available_providers():
        if provider != "AzureExecutionProvider":
            reports.append(attempt(provider.replace("ExecutionProvider", ""), partial(_onnx_run, library, provider)))
    return library.__version__, reports


def _onnx_run(library: Any, provider: str) -> tuple[str, list[float]]:
    import numpy as np

    options = library.SessionOptions()
    options.log_severity_level = 4
    if provider != "CPUExecutionProvider":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = library.InferenceSession(base64.b64decode(ONNX), options, providers=[provider])
    ran_on = session.get_providers()[0].replace("ExecutionProvider", "")
    return ran_on, session.run(["y"], {"x": np.array(X, np.float32)})[0][0].tolist()


def tflite() -> tuple[str, list[Report]]:
    """The CPU through ai-edge-litert, or tflite-runtime where only that is installed."""
    try:
        library = import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError as error:
        if error.name != "ai_edge_litert":
            raise
        library = import_module("tflite_runtime.interpreter")
    package = sys.modules[library.__name__.partition(".")[0]]
    return getattr(package, "__version__", "unknown"), [attempt("CPU", partial(_tflite_run, library))]


def _tflite_run(library: Any) -> tuple[str, list[float]]:
    import numpy as np

    runner = library.Interpreter(model_content=base64.b64decode(TFLITE), num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], np.array(X, np.float32))
    runner.invoke()
    return "CPU", runner.get_tensor(runner.get_output_details()[0]["index"])[0].tolist()


def openvino() -> tuple[str, list[Report]]:
    """Every device that OpenVINO sees."""
    library = import_module("openvino")

    core = library.Core()
    reports = [attempt(device, partial(_openvino_run, core, device)) for device in core.available_devices]
    return library.__version__, reports


def _openvino_run(core: Any, device: str) -> tuple[str, list[float]]:
    import numpy as np

    library = import_module("openvino")

    weights = library.Tensor(np.array(W, np.float32).view(np.uint8))
    compiled = core.compile_model(core.read_model(IR.encode(), weights), device)
    ran_on = compiled.get_property("EXECUTION_DEVICES")
    return ",".join(ran_on), next(iter(compiled(np.array(X, np.float32)).values()))[0].tolist()


def camera(path: str) -> Report:
    """Read one frame from a V4L2 node."""
    import cv2

    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
    start = time.perf_counter()
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2, limits)
    opened = capture.isOpened()
    got, frame = capture.read()
    capture.release()
    size = f"{frame.shape[1]}x{frame.shape[0]}" if got else ""
    error = "" if got else ("gave no frame within 5 s" if opened else "does not open")
    return {"device": path, "ran_on": size, "error": error, "ms": round((time.perf_counter() - start) * 1000, 2)}


def cameras(paths: Sequence[str]) -> tuple[str, list[Report]]:
    """Read one frame from each of the capture nodes."""
    import cv2

    import_module("cv2.utils.logging").setLogLevel(0)
    return cv2.__version__, [camera(path) for path in paths]


def attempt(device: str, run: Callable[[], tuple[str, list[float]]]) -> Report:
    """Run once and say whether it ran there and was right; NPUs and GPUs compute in half precision."""
    start = time.perf_counter()
    try:
        ran_on, values = run()
    except Exception as error:  # noqa: BLE001  (a probe reports whatever a foreign library throws)
        return {"device": device, "ran_on": "", "error": one_line(error), "ms": 0.0}
    took = (time.perf_counter() - start) * 1000
    wrong = max(abs(a - b) for a, b in zip(values, Y, strict=True)) > 0.05
    complaint = f"computed {values}, expected {Y}" if wrong else ""
    return {"device": device, "ran_on": ran_on, "error": complaint, "ms": round(took, 2)}


def one_line(error: BaseException) -> str:
    """The type and the first 300 characters of the message."""
    return (type(error).__name__ + ": " + " ".join(str(error).split()))[:300]


def main(backend: str, paths: Sequence[str]) -> None:
    """Probe one backend, or "cameras" and their nodes, and print the report."""
    report: Report = {"backend": backend, "version": "", "error": "", "devices": []}
    try:
        report["version"], report["devices"] = cameras(paths) if backend == "cameras" else PROBES[backend]()
    except Exception as error:  # noqa: BLE001  (an import may fail in any way: wrong libc, wrong numpy, broken file)
        report["error"] = one_line(error)
    sys.stdout.write("\nsiamedge-probe " + json.dumps(report, sort_keys=True) + "\n")


PROBES: Mapping[str, Callable[[], tuple[str, list[Report]]]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "tflite": tflite,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
