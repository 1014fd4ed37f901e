"""Reading lists and boxes from the command line."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import typer

from siamedge.runtime.geometry import Box

T = TypeVar("T", bound=str)

DEVICE = "Processor to run on, by the backend's name for it: CPU, GPU, NPU ..."
"""Help of --device, alike in every command that has it."""


def parse_choices(text: str, known: Sequence[T], option: str) -> tuple[T, ...]:
    """Read a list such as "onnx,tflite", keeping the order of the known values.

    Raises:
        typer.BadParameter: A value is unknown, or there is none.
    """
    asked = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in asked if part not in known]
    if unknown or not asked:
        found = f"{', '.join(unknown)!r} is unknown" if unknown else "the list is empty"
        raise typer.BadParameter(f"{found}; choose from {', '.join(known)}", param_hint=f"'{option}'")
    return tuple(value for value in known if value in asked)


def parse_choice(text: str, known: Sequence[T], option: str) -> T:
    """Read one of the known values.

    Raises:
        typer.BadParameter: It is none of them.
    """
    if text not in known:
        raise typer.BadParameter(f"{text!r} is unknown; choose one of {', '.join(known)}", param_hint=f"'{option}'")
    return known[known.index(text)]


def refuse(options: Mapping[str, object], reason: str, option: str) -> None:
    """Refuse options that another one would silently leave without effect.

    Args:
        options: By name; those that are set are truthy.
        reason: What is said of them.
        option: The other one.

    Raises:
        typer.BadParameter: One of them is set.
    """
    for name, value in options.items():
        if value:
            raise typer.BadParameter(f"{name} {reason}", param_hint=f"'{option}'")


def number(value: float | None) -> float | None:
    """Refuse nan, which every range lets pass, as the value of an option.

    Raises:
        typer.BadParameter: It is that.
    """
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number")
    return value


def parse_box(text: str) -> Box:
    """Read "x,y,w,h".

    Raises:
        typer.BadParameter: It is not four numbers.
    """
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not x,y,w,h: four numbers, pixels of the first frame", param_hint="'--init'"
        ) from error
    return Box(x, y, w, h)
