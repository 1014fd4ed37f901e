"""What a bundle says of itself: manifest.json as typed records. docs/bundle.md is its specification."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from siamedge.runtime.backends.backend import Format, Precision
from siamedge.runtime.tensors import TensorSpec
from siamedge.runtime.tracking.evidence import PresenceFit
from siamedge.runtime.tracking.params import AnchorFreeParams, SiamFCParams

SCHEMA = 1
Role = Literal["template", "search"]


class FileEntry(NamedTuple):
    """A file of the bundle: path relative to it with forward slashes, size, and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


class Artifact(NamedTuple):
    """One graph in one format and precision.

    Attributes:
        role: Which graph.
        format: Which library family reads it.
        precision: What it was exported as.
        files: The model file; for OpenVINO the .xml, then the .bin.
        inputs: All inputs; kernels have the names under which the template graph gives them.
        outputs: All outputs.
        requires: Library to version range that can run it.
        notes: What stayed in another precision, and why.
        lost_below: Raw score under which the target is lost with this search graph; None: the tracker's own.
        presence: What the scores of a search graph say about the presence of the target; null: not measured.
    """

    role: Role
    format: Format
    precision: Precision
    files: tuple[FileEntry, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    requires: Mapping[str, str]
    notes: str = ""
    presence: PresenceFit | None = None
    lost_below: float | None = None


class AnchorFreeTrackerEntry(NamedTuple):
    """Tracker family with its parameters."""

    family: Literal["anchor-free"]
    arch: str
    params: AnchorFreeParams


class SiamFCTrackerEntry(NamedTuple):
    """Tracker family with its parameters."""

    family: Literal["siamfc"]
    arch: str
    params: SiamFCParams


class CropRule(NamedTuple):
    """What the host must feed: square crops with SiamFC context, BGR uint8; everything else is in the graph."""

    rule: Literal["siamfc-context"] = "siamfc-context"
    color: Literal["BGR"] = "BGR"
    value_min: int = 0
    value_max: int = 255


class Difference(NamedTuple):
    """How far one output is from the source network's over all verified crops.

    Attributes:
        max_abs: Largest absolute difference.
        cosine: Cosine of the angle between the two outputs, taken as one long vector; 0 if one of them is 0.
        relative_rms: Root mean square of the differences over that of the source's output; 0 where it is not stated.
    """

    max_abs: float
    cosine: float
    relative_rms: float = 0.0


class Verification(NamedTuple):
    """The teacher-forced comparison of one format and precision with the source network.

    Attributes:
        crops: Search crops compared, each with its own template's kernels.
        differences: By tensor: kernels of the template graph, outputs of the search graph.
        peak_agreement: Share of crops whose highest score is in the same cell, 0..1.
        box_px: Mean distance of box corners at the source's peak, search-crop pixels; None without boxes.
        verdict: "pass", or "not recommended" if a budget is missed.
        reason: The figure and the budget that decided.
    """

    format: Format
    precision: Precision
    crops: int
    differences: Mapping[str, Difference]
    peak_agreement: float
    box_px: float | None
    verdict: Literal["pass", "not recommended"]
    reason: str


class TrackingDrop(NamedTuple):
    """What int8 costs in tracking, against fp32 of the same format on the same sequences.

    Attributes:
        metric: Its name in the convention.
        dataset: Name of the folder.
        sequences: How many.
        fp32: The metric in fp32.
        int8: In int8.
        drop: fp32 less int8; negative where int8 tracks better.
        low: Lower end of the 95 % interval of the drop, paired by sequence; null for a single sequence.
        high: Its upper end.
    """

    metric: str
    dataset: str
    sequences: int
    fp32: float
    int8: float
    drop: float
    low: float | None
    high: float | None


class QuantizationTrial(NamedTuple):
    """One way of int8 that was tried for a format.

    Attributes:
        format: Which.
        recipe: Name of the recipe that it began from.
        calibration: How ranges of activations were taken.
        purpose: Why it was tried.
        excluded: Convolutions and products that were put back to float beyond that recipe.
        int8: Convolutions and products of the search graph that compute in int8, read from it.
        floating: Those that do not.
        bytes: Of both graphs.
        peak_agreement: As in Verification.
        box_px: As in Verification.
        verdict: As in Verification.
        reason: The figure and the budget that decided.
        chosen: This is the one in the bundle.
        tracking: Where it was measured.
    """

    format: Format
    recipe: str
    calibration: str
    purpose: str
    excluded: tuple[str, ...]
    int8: int
    floating: int
    bytes: int
    peak_agreement: float
    box_px: float | None
    verdict: Literal["pass", "not recommended"]
    reason: str
    chosen: bool
    tracking: TrackingDrop | None = None


class Recommendation(NamedTuple):
    """Which precision to use in a format, and why."""

    precision: Precision
    reason: str


class Provenance(NamedTuple):
    """Where the models come from.

    Attributes:
        checkpoint: File name of the weights.
        checkpoint_sha256: Of that file.
        calibration: What int8 was calibrated on; None if there is no int8.
        calibration_sha256: Of the calibration crops.
        tools: Library to version.
    """

    checkpoint: str
    checkpoint_sha256: str
    calibration: str | None
    calibration_sha256: str | None
    tools: Mapping[str, str]


class Manifest(NamedTuple):
    """All of manifest.json."""

    schema: int
    name: str
    tracker: AnchorFreeTrackerEntry | SiamFCTrackerEntry
    artifacts: tuple[Artifact, ...]
    provenance: Provenance
    verification: tuple[Verification, ...]
    recommended: Mapping[str, Recommendation]
    license: str
    documents: tuple[FileEntry, ...] = ()
    quantization: tuple[QuantizationTrial, ...] = ()
    crop: CropRule = CropRule()

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle but the manifest."""
        models = dict.fromkeys(entry for artifact in self.artifacts for entry in artifact.files)
        return (*models, *self.documents)
