"""The architectures that can be exported: adding one is a module and a row."""

from collections.abc import Callable, Mapping
from functools import partial

from siamedge.export.families import dart_source, nanotrack, siamfc
from siamedge.export.families.source import Checkpoint, SourceNetwork
from siamedge.runtime.errors import ExportError

ARCHITECTURES: Mapping[str, Callable[[Checkpoint], SourceNetwork]] = {
    "nanotrack-v1": partial(nanotrack.build, version=nanotrack.V1),
    "nanotrack-v2": partial(nanotrack.build, version=nanotrack.V2),
    "nanotrack-v3": partial(nanotrack.build, version=nanotrack.V3),
    "siamfc-alexnet": siamfc.build,
    "dart": dart_source.build,
}


def recognise(checkpoint: Checkpoint, source: str) -> SourceNetwork:
    """Build the first architecture that a checkpoint fits.

    Args:
        checkpoint: Of unknown origin.
        source: Its name, for the message.

    Raises:
        ExportError: It fits none; the message names the first tensor at which each failed.
    """
    reasons = {}
    for arch, build in ARCHITECTURES.items():
        try:
            return build(checkpoint)
        except ExportError as error:
            reasons[arch] = str(error)
    first, tried = next(iter(checkpoint.state), "none"), "; ".join(reasons.values())
    raise ExportError(
        f"{source}: fits no known architecture; its first tensor is {first} ({tried})",
        hint="if it is one of these under other names, rename the tensors",
    )


def build_arch(arch: str, checkpoint: Checkpoint) -> SourceNetwork:
    """Build a named architecture.

    Raises:
        ExportError: There is none of that name, or the checkpoint does not fit it.
    """
    if arch not in ARCHITECTURES:
        raise ExportError(f"unknown architecture {arch!r}", hint=f"choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](checkpoint)
