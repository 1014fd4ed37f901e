"""Proof that an exported pair still computes what its source network computes: same crops in, tensors compared.

Closed-loop boxes are chaotic (a score difference of 1e-6 can grow to many pixels), so every crop is given to both.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import TorchSession
from siamedge.runtime.backends.backend import Format, Precision, Session
from siamedge.runtime.bundles.manifest import Difference, Verification
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tracking.feeding import CropRunner
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.responses import Outputs, edges_apart, lost_at_peak, respond


@dataclass(frozen=True, slots=True)
class Budget:
    """What a precision may cost.

    Attributes:
        relative_error: Largest difference of an output as a share of the largest source value of that output.
        peak_agreement: Smallest share of crops with the peak in the same cell, 0..1.
        box_px: Largest mean distance of the box edges at the source's peak, search-crop pixels.
        relative_rms: Largest root mean square of an output's differences, as a share of the source output's own: peaks
            and boxes do not tell how high scores are, nor what quality, features and looks are.
    """

    relative_error: float
    peak_agreement: float
    box_px: float
    relative_rms: float


BUDGETS: Mapping[Precision, Budget] = {
    "fp32": Budget(relative_error=1e-3, peak_agreement=0.99, box_px=0.05, relative_rms=1e-3),
    "fp16": Budget(relative_error=0.05, peak_agreement=0.95, box_px=0.5, relative_rms=0.05),
    "int8": Budget(relative_error=float("inf"), peak_agreement=0.95, box_px=0.5, relative_rms=0.15),
    "bf16": Budget(relative_error=0.05, peak_agreement=0.95, box_px=0.5, relative_rms=0.05),
}
"""fp32 beyond its budget fails an export; the others are then not recommended."""
TIE_LOGITS = 0.05
"""Two cells of the source whose scores differ by no more are one peak: which of them wins is chance, in fp32 too."""
RATIO_DIGITS = 9
"""Further digits depend on the order of a sum; equal exports must give equal bytes."""
LATENCY_RUNS = 30
NOT_FINITE = Difference(sys.float_info.max, 0.0, sys.float_info.max)
"""Of an output with a NaN or infinity, which JSON cannot hold."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A verification and, beside it, what depends on the machine and so stays out of the manifest.

    Attributes:
        verification: For the manifest.
        latency_ms: Median CPU time of the search graph here, one thread.
    """

    verification: Verification
    latency_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the source network gives for each crop.

    Attributes:
        crops: What it was fed.
        kernels: Of each template.
        outputs: Of each search crop.
    """

    crops: CalibrationSet
    kernels: tuple[Outputs, ...]
    outputs: tuple[Outputs, ...]


def compute(template: Session, search: Session, crops: CalibrationSet) -> Reference:
    """Run a pair of sessions over crops, each search crop with the kernels of its own template."""
    return Reference(crops, *respond(template, search, crops))


def reference_of(network: SourceNetwork, crops: CalibrationSet) -> Reference:
    """Run the source network over crops."""
    return compute(TorchSession(network, "template"), TorchSession(network, "search"), crops)


def difference(ours: list[FloatArray], source: list[FloatArray]) -> Difference:
    """Compare one output over all crops; one value that is no finite number counts as NOT_FINITE."""
    a, b = np.stack(ours).ravel().astype(np.float64), np.stack(source).ravel().astype(np.float64)
    if not np.isfinite(a).all():
        return NOT_FINITE
    apart, sizes = np.abs(a - b), (float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    if not apart.any():
        return Difference(0.0, 1.0)
    cosine = float(a @ b) / (sizes[0] * sizes[1]) if min(sizes) > 0 else 0.0
    rms = float(np.linalg.norm(apart)) / sizes[1] if sizes[1] > 0 else sys.float_info.max
    return Difference(float(apart.max()), round(cosine, RATIO_DIGITS), round(rms, RATIO_DIGITS))


def differences(ours: Reference, source: Reference) -> dict[str, Difference]:
    """Compare all kernels and outputs of the source.

    Raises:
        ExportError: We lack one.
    """
    found = {}
    for mine, theirs in ((ours.kernels, source.kernels), (ours.outputs, source.outputs)):
        for name in theirs[0]:
            if name not in mine[0]:
                raise ExportError(f"the converted model gives {', '.join(mine[0])}, but not {name}")
            found[name] = difference([maps[name] for maps in mine], [maps[name] for maps in theirs])
    return found


def peak_agreement(ours: Reference, source: Reference) -> float:
    """Give the share of crops with the peak in the same cell, 0..1; cells that the source ranks alike are one peak."""
    pairs = zip(ours.outputs, source.outputs, strict=True)
    return float(np.mean([is_same_peak(a, b) for a, b in pairs]))


def is_same_peak(ours: Outputs, source: Outputs) -> bool:
    """Whether our best cell is the source's, or one that it ranks alike (only logits have a scale to say so)."""
    return lost_at_peak(ours, source) <= (TIE_LOGITS if "cls" in source else 0.0)


def box_difference(ours: Reference, source: Reference, params: AnchorFreeParams) -> float:
    """Give the mean distance of the four box edges at the source's peak, in search-crop pixels.

    No edge counts as farther off than the side of the crop, which is also the distance of an edge that is NaN.
    """
    pairs = zip(ours.outputs, source.outputs, strict=True)
    return float(np.mean([edges_apart(a, b, params) for a, b in pairs]))


def judge(verification: Verification, source: Reference, budget: Budget) -> tuple[bool, str]:
    """Hold a comparison against its budget and say which figure decides."""
    for name, found in verification.differences.items():
        if found == NOT_FINITE:
            return False, f"{name} has values that are no finite numbers"
        maps = [maps[name] for maps in (*source.kernels, *source.outputs) if name in maps]
        limit = budget.relative_error * float(np.abs(np.stack(maps)).max())
        if found.max_abs > limit:
            return False, f"{name} differs by {found.max_abs:.3g}, budget {limit:.3g}"
    if verification.peak_agreement < budget.peak_agreement:
        return False, f"peak agreement {verification.peak_agreement:.3f}, budget {budget.peak_agreement:g}"
    if verification.box_px is not None and verification.box_px > budget.box_px:
        return False, f"boxes differ by {verification.box_px:.2f} px, budget {budget.box_px:g} px"
    for name, found in verification.differences.items():
        if found.relative_rms > budget.relative_rms:
            return (
                False,
                f"{name} is off by {found.relative_rms:.0%} (root mean square), budget {budget.relative_rms:g}",
            )
    return True, "within budget"


def verify_pair(
    template: Session, search: Session, network: SourceNetwork, source: Reference, kind: tuple[Format, Precision]
) -> Measured:
    """Compare a pair of loaded models with the source network, and time the search graph."""
    ours = compute(template, search, source.crops)
    params = network.params
    box_px = box_difference(ours, source, params) if isinstance(params, AnchorFreeParams) else None
    plain = Verification(
        format=kind[0],
        precision=kind[1],
        crops=len(source.crops.searches),
        differences=differences(ours, source),
        peak_agreement=peak_agreement(ours, source),
        box_px=box_px,
        verdict="pass",
        reason="",
    )
    is_within, reason = judge(plain, source, BUDGETS[kind[1]])
    verdict = plain._replace(verdict="pass" if is_within else "not recommended", reason=reason)
    return Measured(verdict, search_latency_ms(template, search, source.crops))


def search_latency_ms(template: Session, search: Session, crops: CalibrationSet) -> float:
    """Give the median CPU time of the search graph over a few runs on one crop, encoding included.

    The lesser of the process's CPU time and of the time that passed: numpy's library leaves a thread spinning for a
    while after a large product, and its time is not the graph's.
    """
    runner = CropRunner(search)
    runner.hold(CropRunner(template).run(crops.templates[0]))
    times = []
    for _ in range(LATENCY_RUNS):
        begin, begin_wall = time.process_time(), time.perf_counter()
        runner.run(crops.searches[0])
        times.append(min(time.process_time() - begin, time.perf_counter() - begin_wall))
    return float(np.median(times)) * 1e3
