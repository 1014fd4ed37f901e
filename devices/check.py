"""The health check of a release on its device: open the bundle, run both graphs on the first backend that runs.

`python -m siamedge.devices.check BUNDLE DEVICE_JSON`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from siamedge.devices.profiles import Choice
from siamedge.runtime.backends import get_backend
from siamedge.runtime.bundle import Bundle
from siamedge.runtime.errors import BackendError, BundleError, SiamedgeError


def run_once(bundle: Bundle, choice: Choice, threads: int) -> float:
    """Load both graphs and run each once on zeros; gives the time of the second run of the search graph, ms.

    Raises:
        BackendError: The backend is missing or refuses a graph.
        BundleError: The bundle has no such artifact.
        DeviceError: An output is not finite.
    """
    backend = get_backend(choice.backend)
    took_ms = 0.0
    for role in ("template", "search"):
        artifact = bundle.find("template" if role == "template" else "search", backend.format, choice.precision)
        session = backend.load(bundle.load(artifact), device=choice.device, threads=threads)
        feeds = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs.values()}
        session.run(feeds)
        start = time.perf_counter()
        outputs = session.run(feeds)
        took_ms = (time.perf_counter() - start) * 1000
        odd = [name for name, value in outputs.items() if not np.isfinite(value).all()]
        session.close()
        if odd:
            raise BackendError(f"{choice.backend} {choice.precision}: output {odd[0]} is not finite")
    return took_ms


def first_that_runs(bundle: Bundle, choices: list[Choice], threads: int) -> tuple[Choice, float, list[str]]:
    """The first choice that runs, its time in ms, and why those before it do not.

    Raises:
        BackendError: None runs.
    """
    reasons: list[str] = []
    for choice in choices:
        try:
            return choice, run_once(bundle, choice, threads), reasons
        except (BackendError, BundleError) as error:
            reasons.append(f"{choice.backend} {choice.device} {choice.precision}: {error}")
    raise BackendError(f"no backend runs the bundle: {'; '.join(reasons)}")


def main(bundle: str, settings: str) -> int:
    """Print what ran as JSON; a reason on standard error and 1 if nothing did."""
    device = json.loads(Path(settings).read_text(encoding="utf-8"))
    try:
        opened = Bundle.open(Path(bundle))
        choices = [Choice(*row) for row in device["backends"]]
        choice, took_ms, reasons = first_that_runs(opened, choices, device["threads"])
    except SiamedgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    answer = {"ran": choice, "search_ms": round(took_ms, 3), "not": reasons}
    sys.stdout.write(json.dumps(answer, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
