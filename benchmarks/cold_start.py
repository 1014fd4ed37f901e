"""Time `siamedge track` from its start to the first box against the bare library, and write docs/results/cold_start.*.

    python benchmarks/cold_start.py BUNDLE [--rounds 7] [--core 0]

The bare program imports numpy, cv2 and the library, loads the same two models the library's plain way, reads the same
picture, resizes it to both crops and runs both graphs once; it compiles what `siamedge track`, once started, finds
compiled. Both are timed in turn, as CPU time of the process.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import cv2
from bare_programs import BARE
from script import RESULTS, add_core, at_least, parser, recorded, run, write_results
from this_machine import not_installed, pin, processor

from siamedge.runtime.backends.backend import get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, pick
from siamedge.runtime.errors import BackendError
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import RUN_AND_TELL, peak_mib, told_delay_s, usable
from siamedge.runtime.speed.measuring import busy_reason
from siamedge.runtime.tracking.trackers import as_text

HEADING = """# Cold start

Made by `python benchmarks/cold_start.py` ({rounds} rounds in turn, one core of
{machine}; CPU milliseconds of the process, medians).
`siamedge track` opens and verifies the bundle, reads the picture and gives the first box of an update, and finds what
its backend keeps compiled; the bare program stands in `bare_programs.py`. Memory is the largest resident set of
`siamedge track`. {remark}

| backend | bare ms | siamedge track ms | ratio | MiB |
|---|---|---|---|---|
"""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--rounds", type=at_least(1), default=7)
    add_core(found)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def cpu_ms(command: list[str]) -> tuple[float, str]:
    """CPU time of a process, and what it wrote to stderr.

    Raises:
        BackendError: It fails; the message is its last line.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise BackendError(f"a program that is timed ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stderr


def unpacked(bundle: Bundle, choice: Candidate, folder: Path) -> list[str]:
    """Write the template and the search model of a choice below a folder, as the library's plain way reads them."""
    paths = []
    for role in ("template", "search"):
        artifact = bundle.find(role, get_backend(choice.backend).format, choice.precision)
        model = bundle.load(artifact)
        names = [folder / Path(entry.path).name for entry in artifact.files]
        for path, content in zip(names, (model.content, model.weights), strict=False):
            path.write_bytes(content)
        paths.append(str(names[0]))
    return paths


def measure(bundle: Bundle, choice: Candidate, rounds: int) -> dict[str, Any]:
    """Both programs in turn: CPU ms of each round, the ratio, memory, and what others took."""
    scene = SyntheticSource()
    times: dict[str, list[float]] = {"bare": [], "siamedge track": []}
    memory, delays_s = 0.0, 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = unpacked(bundle, choice, folder)
        (folder / "frames").mkdir()
        for index in range(2):
            cv2.imwrite(f"{folder}/frames/{index:08d}.png", scene.image_at(index))
        bare = [sys.executable, "-c", BARE[choice.backend], *models, f"{folder}/frames/00000000.png"]
        ours = [sys.executable, "-c", RUN_AND_TELL, "track", str(bundle.path), "--source", f"{folder}/frames"]
        ours += ["--init", as_text(scene.box_at(0)), "--backend", choice.backend, "--precision", "fp32", "--json"]
        cpu_ms(ours)  # writes Python's bytecode and what the backend keeps compiled
        for _ in range(rounds):
            times["bare"].append(cpu_ms(bare)[0])
            taken, told = cpu_ms(ours)
            times["siamedge track"].append(taken)
            memory, delays_s = max(memory, peak_mib(told) or 0.0), delays_s + told_delay_s(told)
    busy_s = sum(times["siamedge track"]) / 1000
    ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    return {"times_ms": times, "ratio": ratio, "rss_mib": memory, "waiting_share": delays_s / (delays_s + busy_s)}


def row(backend: str, found: dict[str, Any]) -> str:
    plain, whole = (statistics.median(found["times_ms"][name]) for name in ("bare", "siamedge track"))
    return f"| {backend} | {plain:.0f} | {whole:.0f} | {found['ratio']:.2f} | {found['rss_mib']:.0f} |"


def main() -> None:
    options = arguments()
    pin(options.core)
    bundle = Bundle.open(options.bundle)
    pick(bundle, precision="fp32")
    results: dict[str, dict[str, Any]] = {}
    for choice in (choice for choice in usable(bundle) if choice.precision == "fp32"):
        results[choice.backend] = measure(bundle, choice, options.rounds)
        print(row(choice.backend, results[choice.backend]), flush=True)
    busy = {name: busy_reason(found["waiting_share"]) for name, found in results.items()}
    remarks = [not_installed(), *(f"{name}: {reason}." for name, reason in busy.items() if reason)]
    heading = HEADING.format(rounds=options.rounds, machine=processor(), remark=" ".join(remarks).strip())
    page = heading + "\n".join(row(name, found) for name, found in results.items()) + "\n"
    write_results(options.out, "cold_start", page, recorded(options, [options.bundle], results))


if __name__ == "__main__":
    run(main)
