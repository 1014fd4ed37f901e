"""Draw a result onto a frame: box, score, state and rate, readable on any picture at any size."""

from collections.abc import Mapping, Sequence

import cv2

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.loop import Step
from siamedge.runtime.tracking.presence import State

COLORS: Mapping[State, tuple[int, int, int]] = {
    "present": (80, 220, 60),
    "uncertain": (40, 190, 255),
    "lost": (60, 60, 235),
    "reacquired": (235, 190, 40),
}
"""BGR of the box; the state is written beside it, so that nothing depends on colour alone."""
INK, PAPER = (255, 255, 255), (24, 24, 24)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SUBPIXEL_BITS = 4


def draw_step(step: Step, *, fps: float | None = None) -> Image:
    """A copy of the frame with the result drawn on it.

    Args:
        step: The tracked frame.
        fps: Frames a second to show in the corner, or nothing.
    """
    image = step.frame.image.copy()
    unit = unit_of(image)
    draw_target(image, step.result.box, step.state, f"{step.state} {step.result.score:.2f}", unit)
    corner = f"frame {step.frame.index}" + ("" if fps is None else f"  {fps:.0f} fps")
    write_label(image, corner, (unit * 4, unit * 13), PAPER, unit)
    return image


def draw_targets(steps: Sequence[Step]) -> Image:
    """A copy of the frame with the results of several targets drawn on it, each with its number.

    Args:
        steps: One a target, all of one frame.
    """
    frame = steps[0].frame
    image = frame.image.copy()
    unit = unit_of(image)
    for number, step in enumerate(steps, start=1):
        draw_target(image, step.result.box, step.state, f"{number} {step.state} {step.result.score:.2f}", unit)
    write_label(image, f"frame {frame.index}", (unit * 4, unit * 13), PAPER, unit)
    return image


def draw_target(image: Image, box: Box, state: State, label: str, unit: int) -> None:
    """Draw one box with its label: the whole outline, or only the corners of the last place when it is lost."""
    draw = draw_corners if state == "lost" else draw_box
    draw(image, box, COLORS[state], unit)
    write_label(image, label, label_place(image, box, unit), COLORS[state], unit)


def unit_of(image: Image) -> int:
    """Line width in pixels that suits the frame: 2 for 480 lines, 4 for 1080."""
    return int(max(1, round(min(image.shape[:2]) / 270)))


def draw_box(image: Image, box: Box, color: tuple[int, int, int], unit: int) -> None:
    """Outline a box with a dark rim, so that it shows on any ground."""
    for line, shade in ((unit * 2 + 1, PAPER), (unit, color)):
        cv2.rectangle(image, *corners_of(box), shade, line, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_corners(image: Image, box: Box, color: tuple[int, int, int], unit: int) -> None:
    """Only the corners of a box: where the target was seen last."""
    (left, top), (right, bottom) = corners_of(box)
    reach = max(1, min(right - left, bottom - top) // 4)
    for line, shade in ((unit * 2 + 1, PAPER), (unit, color)):
        for x, to_x in ((left, left + reach), (right, right - reach)):
            for y, to_y in ((top, top + reach), (bottom, bottom - reach)):
                cv2.line(image, (x, y), (to_x, y), shade, line, cv2.LINE_AA, SUBPIXEL_BITS)
                cv2.line(image, (x, y), (x, to_y), shade, line, cv2.LINE_AA, SUBPIXEL_BITS)


def corners_of(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """Left top and right bottom for OpenCV's drawing, in 16ths of a pixel, clear of integer overflow."""
    edges = (box.x, box.y, box.x + box.w, box.y + box.h)
    left, top, right, bottom = (round(min(1e6, max(-1e6, edge)) * 2**SUBPIXEL_BITS) for edge in edges)
    return (left, top), (right, bottom)


def label_place(image: Image, box: Box, unit: int) -> tuple[int, int]:
    """Base line of the label: above the box, or inside it at the frame's top."""
    above = round(box.y) - unit * 4
    y = above if above > unit * 26 else round(box.y + box.h) + unit * 12
    height, width = image.shape[:2]
    return min(max(round(box.x), unit * 4), max(unit * 4, width - unit * 100)), min(
        max(y, unit * 26), height - unit * 4
    )


def write_label(image: Image, text: str, place: tuple[int, int], color: tuple[int, int, int], unit: int) -> None:
    """Write text on a plate of a colour, black or white, whichever reads better."""
    scale = unit * 0.27
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    x, y = place
    cv2.rectangle(image, (x - unit * 2, y - height - unit * 2), (x + width + unit * 2, y + unit * 3), color, -1)
    is_light = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] > 120
    cv2.putText(image, text, place, FONT, scale, PAPER if is_light else INK, max(1, unit // 2), cv2.LINE_AA)
