"""The health check of a release on its device: both graphs on the first backend that computes what was exported.

`python -m siamedge.devices.on_device.check BUNDLE DEVICE_JSON`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from siamedge.devices.boards.profiles import Choice
from siamedge.runtime.backends.backend import get_backend
from siamedge.runtime.bundles.answers import check_answers, read_answers
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions
from siamedge.runtime.errors import BackendError, BundleError, SiamedgeError


def run_once(bundle: Bundle, choice: Choice, threads: int) -> float:
    """Load both graphs, compare what they give with the bundle's answers, and time the search graph, ms.

    Raises:
        BackendError: The backend is missing or refuses a graph, or computes something else than where it was exported.
        BundleError: The bundle has no such artifact, or is damaged.
    """
    candidate = Candidate(choice.backend, choice.precision, choice.device, "", threads)
    template, search = load_sessions(bundle, candidate)
    try:
        for session in (template, search):
            feeds = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs.values()}
            session.run(feeds)
            start = time.perf_counter()
            outputs = session.run(feeds)
            took_ms = (time.perf_counter() - start) * 1000
            odd = [name for name, value in outputs.items() if not np.isfinite(value).all()]
            if odd:
                raise BackendError(f"{choice.backend} {choice.precision}: output {odd[0]} is not finite")
        if (answers := read_answers(bundle)) is not None:
            kind = get_backend(choice.backend).format, choice.precision
            check_answers(answers, kind, (template, search), bundle.manifest.tracker.params)
    finally:
        template.close()
        search.close()
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
