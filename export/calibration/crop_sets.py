"""Calibration sets: crops that a tracker really sees, from which a quantizer learns the ranges of activations."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.errors import ExportError
from siamedge.runtime.places import write_whole

FIELDS = ("templates", "searches", "pairs")


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Crops as the runtime cuts them.

    Attributes:
        templates: (N, Z, Z, 3) uint8, BGR.
        searches: (M, X, X, 3) uint8, BGR.
        pairs: (M,) int64; the target in search i is that of template pairs[i].
        targets: (N,) int64; templates with equal numbers show one target. None: each shows another one.

    Raises:
        ExportError: A shape, type or index is wrong.
    """

    templates: NDArray[np.uint8]
    searches: NDArray[np.uint8]
    pairs: NDArray[np.int64]
    targets: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check the arrays."""
        check_crops("templates", self.templates)
        check_crops("searches", self.searches)
        if self.pairs.shape != (len(self.searches),) or not np.issubdtype(self.pairs.dtype, np.integer):
            raise ExportError(
                f"calibration set: pairs is {self.pairs.dtype} {self.pairs.shape}, "
                f"expected int64 ({len(self.searches)},)"
            )
        if self.pairs.min() < 0 or self.pairs.max() >= len(self.templates):
            raise ExportError(
                f"calibration set: pairs has indices {self.pairs.min()}..{self.pairs.max()}, "
                f"there are {len(self.templates)} templates"
            )
        if self.targets is not None and self.targets.shape != (len(self.templates),):
            raise ExportError(f"calibration set: targets is {self.targets.shape}, expected ({len(self.templates)},)")

    @property
    def target_of_template(self) -> NDArray[np.int64]:
        """(N,) int64: the number of the target in each template."""
        return np.arange(len(self.templates)) if self.targets is None else self.targets

    @property
    def target_of_search(self) -> NDArray[np.int64]:
        """(M,) int64: the number of the target in each search crop."""
        numbers: NDArray[np.int64] = self.target_of_template[self.pairs]
        return numbers

    @property
    def sha256(self) -> str:
        """Digest of the crops and pairs, independent of how the set is stored."""
        digest = hashlib.sha256()
        for name in FIELDS:
            array = np.ascontiguousarray(getattr(self, name), dtype=np.int64 if name == "pairs" else np.uint8)
            digest.update(f"{name} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def subset(self, indices: Sequence[int]) -> "CalibrationSet":
        """Give some search crops, with all templates that they need."""
        chosen = list(indices)
        used, pairs = np.unique(self.pairs[chosen], return_inverse=True)
        numbers = self.target_of_template[used]
        return CalibrationSet(self.templates[used], self.searches[chosen], pairs.astype(np.int64), numbers)

    def check_sizes(self, template_px: int, search_px: int) -> None:
        """Refuse a set that was cut for a network with other crops.

        Raises:
            ExportError: A side differs.
        """
        for name, array, expected in (
            ("template", self.templates, template_px),
            ("search", self.searches, search_px),
        ):
            if array.shape[1] != expected:
                raise ExportError(
                    f"calibration set: {name} crops are {array.shape[1]} px, the network takes {expected} px",
                    hint="make the calibration set with this network",
                )

    def joined(self, other: "CalibrationSet") -> "CalibrationSet":
        """This set and another one, cut for the same network, of other targets.

        Raises:
            ExportError: The other one has crops of other sizes.
        """
        other.check_sizes(self.templates.shape[1], self.searches.shape[1])
        mine, theirs = self.target_of_template, other.target_of_template
        return CalibrationSet(
            np.concatenate([self.templates, other.templates]),
            np.concatenate([self.searches, other.searches]),
            np.concatenate([self.pairs, other.pairs + len(self.templates)]),
            np.concatenate([mine, theirs + 1 + mine.max()]),
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz file; one that is there stays until this one is whole.

        Raises:
            OSError: It cannot be written.
        """
        content = BytesIO()
        np.savez_compressed(
            content,
            templates=self.templates,
            searches=self.searches,
            pairs=self.pairs,
            targets=self.target_of_template,
        )
        write_whole(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> "CalibrationSet":
        """Read what save wrote; nothing is unpickled.

        Raises:
            ExportError: The file is missing, is not such a file, or its arrays are wrong.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if missing := sorted(set(FIELDS) - set(stored.files)):
                    raise ExportError(f"{path}: no array {', '.join(missing)} in the calibration set")
                crops = cls(*(stored[name] for name in FIELDS))
                return replace(crops, targets=stored["targets"]) if "targets" in stored.files else crops
        except FileNotFoundError as error:
            raise ExportError(f"{path}: no such file", hint="make it with `siamedge calibrate`") from error
        except (OSError, ValueError, BadZipFile, EOFError, AttributeError, TypeError) as error:
            raise ExportError(f"{path}: not a calibration set: {error}") from error


def require_calibration(calibration: CalibrationSet | None) -> CalibrationSet:
    """Give the set.

    Raises:
        ExportError: There is none.
    """
    if calibration is None:
        raise ExportError("int8 needs a calibration set", hint="name videos or a folder with --calibration")
    return calibration


def check_crops(name: str, crops: NDArray[np.uint8]) -> None:
    """Refuse an array that is not a stack of square uint8 crops.

    Raises:
        ExportError: Shape or type is wrong, or it is empty.
    """
    is_stack = crops.ndim == 4 and crops.shape[1] == crops.shape[2] and crops.shape[3] == 3 and crops.size > 0
    if not is_stack or crops.dtype != np.uint8:
        raise ExportError(
            f"calibration set: {name} is {crops.dtype} {crops.shape}, expected uint8 (N, side, side, 3) with N >= 1"
        )
