"""What a user's run is trained on and what is held out to judge it by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from siamedge.runtime.errors import SourceError
from siamedge.training.crops.annotated import Recording, find_recordings
from siamedge.training.crops.store import CropStore, matches, read_rows

HELD_OUT = 5
"""One in so many recordings, tracks, or fifths of a single recording."""
FEWEST_BOXES = 10
"""Of a single recording that is to be divided."""


@dataclass(frozen=True, slots=True)
class Material:
    """The user's recordings and folders of crops, divided.

    Attributes:
        trained: Recordings to cut crops from.
        held_out: Recordings that only judge.
        crop_roots: Folders of crops.
        held_tracks: Of the crops, those whose track or source matches one of these only judge.
    """

    trained: tuple[Recording, ...] = ()
    held_out: tuple[Recording, ...] = ()
    crop_roots: tuple[Path, ...] = ()
    held_tracks: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Say in a line or two what is trained on and what is held out."""
        lines = []
        if self.trained:
            lines.append(f"recordings: {_names(self.trained)}; held out: {_names(self.held_out)}")
        if self.crop_roots:
            roots = ", ".join(root.name for root in self.crop_roots)
            lines.append(
                f"crops: {roots}; held out: {_listed([name.rstrip('$') for name in self.held_tracks]) or 'none'}"
            )
        if self.held_out and not self.trained:
            lines.append(f"held out: {_names(self.held_out)}")
        return lines


def gather(data: Sequence[Path], holdout: Sequence[str] = (), usual: Sequence[str] = ()) -> Material:
    """Find what there is at some paths and hold out a part.

    Without a wish: of several recordings every fifth from the last one, of a single one the last fifth of its frames;
    of the tracks of crops (their sources where there are no tracks) those that the recipe holds out, else every fifth.

    Args:
        data: Videos, folders of recordings and folders of crops.
        holdout: Paths of recordings, or names that tracks or sources of the crops start with.
        usual: Names that the recipe holds out.

    Raises:
        SourceError: Nothing usable is at a path, or nothing is left to train on.
    """
    crop_roots = tuple(path for path in data if (path / "annotations.jsonl").is_file())
    recordings = [item for path in data if path not in crop_roots for item in find_recordings(path)]
    paths = [Path(wish) for wish in holdout if Path(wish).exists()]
    names = tuple(wish for wish in holdout if not Path(wish).exists())
    if paths:
        kept = [item for path in paths for item in find_recordings(path)]
        trained = [item for item in recordings if not any(_is_same(item, other) for other in kept)]
        if recordings and not trained:
            raise SourceError("all recordings are held out", hint="name others to train on")
    else:
        trained, kept = divide(recordings)
    return Material(tuple(trained), tuple(kept), crop_roots, _held_tracks(crop_roots, names, usual))


def divide(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Hold out every fifth recording from the last one, or the last fifth of a single one.

    Raises:
        SourceError: A single recording is too short to be divided.
    """
    if len(recordings) != 1:
        held = set(range(len(recordings) - 1, -1, -HELD_OUT))
        trained = [item for index, item in enumerate(recordings) if index not in held]
        return trained, [item for index, item in enumerate(recordings) if index in held]
    (only,) = recordings
    if len(only.frames) < FEWEST_BOXES:
        raise SourceError(
            f"{only.name}: {len(only.frames)} frames with a box, {FEWEST_BOXES} are needed",
            hint="annotate more frames, or more recordings",
        )
    end = len(only.frames) - len(only.frames) // HELD_OUT
    return [only._replace(frames=only.frames[:end])], [only._replace(frames=only.frames[end:])]


def held_out_crops(roots: Sequence[Path], prefixes: Sequence[str]) -> CropStore:
    """Read the crops that only judge."""
    return CropStore(roots, only=prefixes)


def _held_tracks(roots: Sequence[Path], wishes: tuple[str, ...], usual: Sequence[str]) -> tuple[str, ...]:
    rows = [row for root in roots for row in read_rows(root)]
    known = {str(row[key]) for row in rows for key in ("track", "source") if row[key]}
    for wish in wishes:
        if not any(matches(name, (wish,)) for name in known):
            hint = "a path, or the start of a name in annotations.jsonl" if rows else "give the path of a recording"
            raise SourceError(f"nothing to hold out at {wish!r}", hint=hint)
    if wishes or any(matches(name, tuple(usual)) for name in known):
        return wishes or tuple(usual)
    names = sorted({str(row["track"]) for row in rows if row["track"]} or known)
    return tuple(f"{name}$" for name in names[::-HELD_OUT]) if len(names) > 1 else ()


def _is_same(one: Recording, other: Recording) -> bool:
    return one.sequence.frames == other.sequence.frames


def _names(recordings: Sequence[Recording]) -> str:
    return _listed([item.name for item in recordings]) or "none"


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
