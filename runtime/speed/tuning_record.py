"""The record of a tuning: what was measured on this device, for which bundle, and what was chosen."""

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.backends.cache import cache_home, write_atomically
from siamedge.runtime.backends.processor import CPUINFO, processor_name
from siamedge.runtime.bundles.bundle import MANIFEST, Bundle, read_file
from siamedge.runtime.bundles.picking import Candidate
from siamedge.runtime.bundles.records import RecordError, from_json, to_json
from siamedge.runtime.logs import warn
from siamedge.runtime.speed.measuring import Spread

SCHEMA = 1
LIBRARIES = ("ai-edge-litert", "tflite-runtime", "openvino", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to run the bundle and what came of it.

    Attributes:
        backend: Name of the backend.
        precision: Of the model files.
        device: The backend's name of the device.
        threads: Of the backend.
        latency_ms: Wall time of an update under the pace; None if it was not measured.
        cpu_ms: Median CPU time of an update, all threads; None if it was not measured.
        verdict: "chosen", "measured", or why it was not measured.
    """

    backend: str
    precision: Precision
    device: str
    threads: int
    latency_ms: Spread | None
    cpu_ms: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured on this device, and the choice.

    Attributes:
        schema: Of this record.
        fingerprint: The device and the versions that it holds for.
        bundle_sha256: Of the bundle's manifest, which names the hashes of all its files.
        fps: Pace of the measurement.
        trials: Every candidate.
        reason: Why the chosen one was chosen.
    """

    schema: int
    fingerprint: Mapping[str, str]
    bundle_sha256: str
    fps: float
    trials: tuple[Trial, ...]
    reason: str = ""

    @property
    def choice(self) -> Candidate:
        """The chosen way, ready to be loaded."""
        trial = next(trial for trial in self.trials if trial.verdict == "chosen")
        return Candidate(trial.backend, trial.precision, trial.device, "chosen", trial.threads)


def name_of(trial: Trial) -> str:
    """The candidate in words."""
    threads = "1 thread" if trial.threads == 1 else f"{trial.threads} threads"
    return f"{trial.backend} {trial.precision} on {trial.device}, {threads}"


def with_verdict(trial: Trial, verdict: str) -> Trial:
    """The same candidate with another verdict."""
    return Trial(trial.backend, trial.precision, trial.device, trial.threads, trial.latency_ms, trial.cpu_ms, verdict)


def fingerprint(cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """What a measurement depends on: processor, system and the versions of the libraries."""
    found = {
        "machine": platform.machine(),
        "processor": processor_name(cpuinfo),
        "processors": str(os.cpu_count() or 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "siamedge": version("siamedge"),
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def bundle_sha256(bundle: Bundle) -> str:
    """Hash of the manifest, which names the hashes of all files."""
    return hashlib.sha256(read_file(bundle.path, MANIFEST)).hexdigest()


def record_path(bundle: Bundle, device: str = "CPU") -> Path:
    """Where the record of a bundle is kept."""
    return cache_home() / "tuning" / f"{bundle_sha256(bundle)[:32]}-{device.replace(':', '_')}.json"


def save(tuning: Tuning, path: Path) -> None:
    """Write a record.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json(tuning).encode())


def load_record(path: Path, sha256: str) -> Tuning | None:
    """Read the record of a bundle; None if there is none or it is damaged, of another bundle or another schema."""
    try:
        tuning = from_json(Tuning, path.read_bytes())
    except OSError:
        return None
    except RecordError as error:
        warn(__name__, "%s: %s; the bundle has to be tuned again", path, error)
        return None
    is_ours = tuning.schema == SCHEMA and tuning.bundle_sha256 == sha256
    has_choice = sum(trial.verdict == "chosen" for trial in tuning.trials) == 1
    return tuning if is_ours and has_choice else None


def differences(tuning: Tuning, now: Mapping[str, str]) -> list[str]:
    """What changed on this device since a record was made, in words; empty if nothing did."""
    keys = sorted(tuning.fingerprint.keys() | now.keys())
    pairs = ((key, tuning.fingerprint.get(key, "nothing"), now.get(key, "nothing")) for key in keys)
    return [f"{key} was {before}, is {after}" for key, before, after in pairs if before != after]
