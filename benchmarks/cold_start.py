"""Time `siamedge track` from its start to the first box against the bare library, and write docs/results/cold_start.*.

    python benchmarks/cold_start.py BUNDLE [--rounds 7] [--core 0]

The bare program imports numpy, cv2 and the library, loads the same two models the library's plain way, reads the same
picture, resizes it to both crops and runs both graphs once. Both are timed in turn, as CPU time of the process.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import processor

from siamedge.runtime.backends.backend import get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import RUN_AND_TELL, peak_mib
from siamedge.runtime.tracking.trackers import as_text

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
HEADING = """# Cold start

Made by `python benchmarks/cold_start.py` ({rounds} rounds in turn, one core of
{machine}; CPU milliseconds of the process, medians).
`siamedge track` opens and verifies the bundle, reads the picture and gives the first box of an update; the bare program
is described in the script. Memory is the largest resident set of `siamedge track`.

| backend | bare ms | siamedge track ms | ratio | MiB |
|---|---|---|---|---|
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=0, help="the processor to run on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def cpu_ms(command: list[str]) -> tuple[float, str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stderr


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, {options.core})
    bundle, scene, rows, results = Bundle.open(options.bundle), SyntheticSource(), [], {}
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        for index in range(2):
            cv2.imwrite(f"{folder}/{index:08d}.png", scene.image_at(index))
        for name, script in BARE.items():
            form = get_backend(name).format
            files = [
                str(options.bundle / bundle.find(role, form, "fp32").files[0].path) for role in ("template", "search")
            ]
            bare = [sys.executable, "-c", script, *files, f"{folder}/00000000.png"]
            ours = [sys.executable, "-c", RUN_AND_TELL, "track", str(options.bundle), "--source", folder]
            ours += ["--init", as_text(scene.box_at(0)), "--backend", name, "--precision", "fp32", "--json"]
            times: dict[str, list[float]] = {"bare": [], "siamedge track": []}
            memory = 0.0
            cpu_ms(ours)  # writes Python's bytecode and what the backend keeps compiled
            for _ in range(options.rounds):
                times["bare"].append(cpu_ms(bare)[0])
                taken, told = cpu_ms(ours)
                times["siamedge track"].append(taken)
                memory = max(memory, peak_mib(told) or 0.0)
            plain, whole = (statistics.median(values) for values in times.values())
            ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
            results[name] = {"times_ms": times, "ratio": ratio, "rss_mib": memory}
            rows.append(f"| {name} | {plain:.0f} | {whole:.0f} | {ratio:.2f} | {memory:.0f} |")
            print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    heading = HEADING.format(rounds=options.rounds, machine=processor())
    (options.out / "cold_start.md").write_text(heading + "\n".join(rows) + "\n")
    (options.out / "cold_start.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
