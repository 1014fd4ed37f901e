"""A window with the tracked picture, where OpenCV was built with one."""

import cv2

from siamedge.runtime.errors import SourceError
from siamedge.runtime.loop import Step
from siamedge.runtime.outputs.overlay import draw_step

NAME = "siamedge"
STOP_KEYS = (27, ord("q"))


class WindowOutput:
    """Shows each frame; Esc, q or closing the window stops.

    Raises:
        SourceError: OpenCV has no windows here, or there is no screen.
    """

    def __init__(self) -> None:
        if not has_windows():
            raise SourceError(
                "--window: this OpenCV has no windows (opencv-python-headless)",
                hint="use --web, or pip install opencv-python in its place on a machine with a screen",
            )
        try:
            cv2.namedWindow(NAME, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise SourceError("--window: there is no screen", hint="use --web") from error

    def __enter__(self) -> "WindowOutput":
        return self

    def __exit__(self, *_: object) -> None:
        cv2.destroyWindow(NAME)

    def send(self, step: Step) -> None:
        """Show one frame.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        cv2.imshow(NAME, draw_step(step))
        if cv2.waitKey(1) in STOP_KEYS or cv2.getWindowProperty(NAME, cv2.WND_PROP_VISIBLE) < 1:
            raise KeyboardInterrupt


def has_windows() -> bool:
    """Whether OpenCV was built with a GUI, as its build information says."""
    lines = [line.split() for line in cv2.getBuildInformation().splitlines()]
    return any(words[0] == "GUI:" and words[1:] not in ([], ["NONE"]) for words in lines if words)
