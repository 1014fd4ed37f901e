"""The objects that the page follows, and the network that follows them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.loop import state_of, update_at_size
from siamedge.runtime.tracking.presence import PresenceTracker, State
from siamedge.runtime.tracking.trackers import Tracker, TrackResult, check_init
from siamedge.runtime.web.snapshot import TargetView

MOST_TARGETS = 8


@dataclass(slots=True)
class Target:
    """One followed object.

    Attributes:
        tracker: Initialised.
        size: (width, height) of the frame that it was initialised with.
        result: Of the newest frame, in its pixels.
        state: See presence.
    """

    tracker: Tracker
    size: tuple[int, int]
    result: TrackResult
    state: State = "present"


class Targets:
    """Up to eight targets with the numbers 1 to 8; their networks are one of several models.

    Args:
        models: Name to what opens a tracker of it; the first is used until another one is chosen.

    Attributes:
        model: The name of the one that is used.
    """

    def __init__(self, models: Mapping[str, Callable[[], Tracker]]) -> None:
        self.model = next(iter(models))
        self._models = models
        self._targets: dict[int, Target] = {}

    def __len__(self) -> int:
        return len(self._targets)

    def put(self, image: Image, box: Box, key: int | None = None) -> int:
        """Follow what is in a box of a frame: as the target with a number, or as a new one; give its number.

        Raises:
            SourceError: The box is not in the frame, no target can have this number, or there are eight.
        """
        try:
            check_init(image, box)
        except SourceError as error:  # its own hint is for the command line
            raise SourceError(str(error), hint="draw it around the target, in the picture") from error
        numbers = range(1, MOST_TARGETS + 1)
        if key is not None and key not in numbers:
            raise SourceError(
                f"{key} is no number of a target: they go from 1 to {MOST_TARGETS}", hint="leave it out for a new one"
            )
        chosen = next((k for k in numbers if k not in self._targets), None) if key is None else key
        if chosen is None:
            raise SourceError(f"{MOST_TARGETS} targets are the most", hint="remove one first")
        tracker, size = self._started(image, box, self.model)
        self._targets[chosen] = Target(tracker, size, TrackResult(box, 1.0, lost=False))
        return chosen

    def remove(self, key: int) -> None:
        """Follow one target no longer.

        Raises:
            KeyError: There is no such target.
        """
        del self._targets[key]

    def clear(self) -> None:
        """Follow nothing."""
        self._targets.clear()

    def use_model(self, name: str, image: Image | None) -> None:
        """Change network or precision; targets are taken over where they are.

        Args:
            name: Of the model.
            image: The newest frame; None before the first, when there are no targets.

        Raises:
            SourceError: There is no such model.
        """
        if name not in self._models:
            raise SourceError(f"no model {name!r}; there are {', '.join(self._models)}")
        if image is not None:
            started = [self._started(image, target.result.box, name) for target in self._targets.values()]
            for target, (tracker, size) in zip(self._targets.values(), started, strict=True):
                target.tracker, target.size = tracker, size
        self.model = name

    def update(self, image: Image) -> None:
        """Follow all targets into the next frame."""
        for target in self._targets.values():
            target.result = update_at_size(target.tracker, image, target.size)
            watching = target.tracker
            target.state = (
                watching.state if isinstance(watching, PresenceTracker) else state_of(target.result, target.state)
            )

    def views(self) -> tuple[TargetView, ...]:
        """Every target in the newest frame, in the order of their numbers."""
        return tuple(view_of(key, target) for key, target in sorted(self._targets.items()))

    def _started(self, image: Image, box: Box, model: str) -> tuple[Tracker, tuple[int, int]]:
        """A tracker of a model that follows a box of a frame, and the frame's (width, height)."""
        tracker = self._models[model]()
        tracker.init(image, box)
        return tracker, (image.shape[1], image.shape[0])


def view_of(key: int, target: Target) -> TargetView:
    """What is shown of a target."""
    watching, result = target.tracker, target.result
    known = watching.probability if isinstance(watching, PresenceTracker) else result.score
    return TargetView(key, result.box, result.score, target.state, known)
