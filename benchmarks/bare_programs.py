"""Programs that run a bundle's two graphs once with nothing but the library: arguments template, search, picture."""

PRELUDE = """
import sys, numpy as np, cv2
template, search, picture = sys.argv[1:4]
frame = cv2.imread(picture)
def crop(shape, dtype):
    side = shape[1] if shape[-1] == 3 else shape[2]
    square = cv2.resize(frame, (side, side))[None]
    return np.ascontiguousarray(square if shape[-1] == 3 else square.transpose(0, 3, 1, 2)).astype(dtype)
"""
BARE = {
    "tflite": PRELUDE
    + """
from ai_edge_litert.interpreter import Interpreter
kernels = {}
for path in (template, search):
    interpreter = Interpreter(path, num_threads=1)
    run = interpreter.get_signature_runner()
    feeds = {n: crop(d["shape"], d["dtype"]) if len(d["shape"]) == 4 and d["shape"][-1] == 3 else kernels[n]
             for n, d in run.get_input_details().items()}
    kernels = run(**feeds)
print(1, flush=True)
""",
    "openvino": PRELUDE
    + """
import openvino
core, kernels = openvino.Core(), {}
for path in (template, search):
    model = core.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1})
    feeds = {i.any_name: crop(tuple(i.shape), i.element_type.to_dtype()) if tuple(i.shape)[-1] == 3
             else kernels[i.any_name] for i in model.inputs}
    results = model(feeds)
    kernels = {o.any_name: results[o] for o in model.outputs}
print(1, flush=True)
""",
    "onnxruntime": PRELUDE
    + """
import onnxruntime
options, kernels = onnxruntime.SessionOptions(), {}
options.intra_op_num_threads = 1
for path in (template, search):
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    feeds = {i.name: crop(tuple(i.shape), types[i.type]) if len(i.shape) == 4 else kernels[i.name]
             for i in session.get_inputs()}
    kernels = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
print(1, flush=True)
""",
}
"""Backend to the program's text."""
