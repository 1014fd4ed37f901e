"""What a client may ask of the engine, and the JSON bodies that say it; the OpenAPI document describes them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.geometry import Box
from siamedge.runtime.web.engine import Engine

Verb = Callable[[Engine, dict[str, Any]], object]


def follow(engine: Engine, body: dict[str, Any]) -> object:
    """Start or re-target: {"box": [x, y, w, h], "id": 1}."""
    box, key = read_box(body.get("box")), body.get("id")
    if box is None or not (key is None or type(key) is int):
        raise SiamedgeError('the body must be {"box": [x, y, w, h]} and may have "id": a number')
    return {"id": engine.do(partial(engine.set_target, box, key))}


def read_box(value: object) -> Box | None:
    """The box that four JSON numbers mean; None for anything else."""
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) in (int, float) for side in value):
        return None
    try:
        return Box(*map(float, value))
    except OverflowError:  # a whole number may have any length
        return None


def remove(engine: Engine, body: dict[str, Any]) -> object:
    """Forget a target: {"id": 1}."""
    key = body.get("id")
    if type(key) is not int:
        raise SiamedgeError('the body must be {"id": a number}')
    try:
        return engine.do(partial(engine.remove_target, key))
    except KeyError as error:
        raise SiamedgeError(f"there is no target {key}") from error


def record(engine: Engine, body: dict[str, Any]) -> object:
    """Begin or end a recording: {"on": true}, or {} for the same."""
    is_on = body.get("on", True)
    if not isinstance(is_on, bool):
        raise SiamedgeError('the body must be {"on": true} or {"on": false}')
    return engine.do(partial(engine.record, is_on))


VERBS: Mapping[str, Verb] = {
    "target": follow,
    "remove": remove,
    "pause": lambda engine, body: engine.do(partial(engine.pause, True)),
    "resume": lambda engine, body: engine.do(partial(engine.pause, False)),
    "step": lambda engine, body: engine.do(engine.step),
    "reset": lambda engine, body: engine.do(engine.reset),
    "record": record,
    "source": lambda engine, body: engine.do(partial(engine.open, str(body.get("address", "")))),
    "model": lambda engine, body: engine.do(partial(engine.use_model, str(body.get("name", "")))),
}
"""POST /api/<verb>, steering; the OpenAPI document has their bodies."""
