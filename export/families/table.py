"""The architectures that can be exported: adding one is a module and a row."""

from collections.abc import Callable, Mapping
from functools import partial

from siamedge.export.families import nanotrack, siamfc
from siamedge.export.families.source import SourceNetwork, StateDict
from siamedge.runtime.errors import ExportError

ARCHITECTURES: Mapping[str, Callable[[StateDict], SourceNetwork]] = {
    "nanotrack-v1": partial(nanotrack.build, version=nanotrack.V1),
    "nanotrack-v2": partial(nanotrack.build, version=nanotrack.V2),
    "nanotrack-v3": partial(nanotrack.build, version=nanotrack.V3),
    "siamfc-alexnet": siamfc.build,
}


def recognise(state: StateDict, source: str) -> SourceNetwork:
    """Build the first architecture that a checkpoint fits.

    Args:
        state: The checkpoint's tensors by name.
        source: Its name, for the message.

    Raises:
        ExportError: It fits none; the message names the tensor at which the best fitting one failed.
    """
    reasons = {}
    for arch, build in ARCHITECTURES.items():
        try:
            return build(state)
        except ExportError as error:
            reasons[arch] = str(error)
    tried = "; ".join(reasons.values())
    raise ExportError(f"{source}: fits no known architecture ({tried})", hint="name one with --arch, or add a family")


def build_arch(arch: str, state: StateDict) -> SourceNetwork:
    """Build a named architecture.

    Raises:
        ExportError: There is none of that name, or the checkpoint does not fit it.
    """
    if arch not in ARCHITECTURES:
        raise ExportError(f"unknown architecture {arch!r}", hint=f"choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](state)
