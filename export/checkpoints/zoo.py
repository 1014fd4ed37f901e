"""Published checkpoints that can be exported by name: where they are, how to know them, whose they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from siamedge.export.checkpoints.download import Download, fetch
from siamedge.runtime.backends.cache import cache_home

_SIAMTRACKERS = "https://raw.githubusercontent.com/HonglinChu/SiamTrackers/248663fde6bf7c40190cf10ee396d5662919ecd3"


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint as its authors published it.

    Attributes:
        arch: A key of siamedge.export.families.table.ARCHITECTURES.
        url: Of a file that never changes: the commit is part of it.
        sha256: Of the file.
        bytes: Its size.
        license: As the repository states it.
        reference: Repository and commit.
    """

    arch: str
    url: str
    sha256: str
    bytes: int
    license: str
    reference: str

    @property
    def path(self) -> Path:
        """Where the file is kept, whether it is there or not."""
        return cache_home() / "zoo" / self.url.rpartition("/")[2]


def _nanotrack(version: int, sha256: str, size: int) -> Published:
    url = f"{_SIAMTRACKERS}/NanoTrack/models/pretrained/nanotrackv{version}.pth"
    reference = "HonglinChu/SiamTrackers @ 248663f, NanoTrack"
    return Published(f"nanotrack-v{version}", url, sha256, size, "Apache-2.0", reference)


ZOO: Mapping[str, Published] = {
    "nanotrack-v1": _nanotrack(1, "2a24bbfd1163a7692ab22100336a54de55dde12301b7d8ae7a4e745fb10b09a3", 2_475_634),
    "nanotrack-v2": _nanotrack(2, "938a320c560fd8c8d6a148a76a072bca29c529ce16591c9a2157859ee0ecc5e1", 2_095_829),
    "nanotrack-v3": _nanotrack(3, "4f0d25108385a67bdec5fa01ca37c74acb72343b53996dd645fe18b86e512e69", 3_498_955),
}
"""Name to checkpoint; a file enters this table only when its hash was checked against its repository."""


def get_checkpoint(name: str, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Give the file of a published checkpoint, fetched if it is not in the cache.

    Args:
        name: A key of ZOO.
        progress: Called with the bytes that are there and the bytes of the file.

    Raises:
        ExportError: It cannot be fetched, or what is there is not the published file.
    """
    item = ZOO[name]
    return fetch(Download(name, item.url, item.sha256, item.bytes), item.path, progress)


def license_of(sha256: str) -> str | None:
    """Give the licence of a published checkpoint by the hash of its file, None for any other file."""
    found = (f"{item.license} ({item.reference})" for item in ZOO.values() if item.sha256 == sha256)
    return next(found, None)
