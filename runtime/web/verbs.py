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
    box, key = body.get("box"), body.get("id")
    is_box = isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)
    if not is_box or not isinstance(key, int | None):
        raise SiamedgeError('the body must be {"box": [x, y, w, h]} and may have "id": a number')
    return {"id": engine.do(partial(engine.set_target, Box(*map(float, body["box"])), key))}


def remove(engine: Engine, body: dict[str, Any]) -> object:
    """Forget a target: {"id": 1}."""
    try:
        return engine.do(partial(engine.remove_target, body.get("id", 0)))
    except KeyError as error:
        raise SiamedgeError(f"there is no target {body.get('id')!r}") from error


VERBS: Mapping[str, Verb] = {
    "target": follow,
    "remove": remove,
    "pause": lambda engine, body: engine.do(partial(engine.pause, True)),
    "resume": lambda engine, body: engine.do(partial(engine.pause, False)),
    "step": lambda engine, body: engine.do(engine.step),
    "reset": lambda engine, body: engine.do(engine.reset),
    "record": lambda engine, body: engine.do(partial(engine.record, bool(body.get("on", True)))),
    "source": lambda engine, body: engine.do(partial(engine.open, str(body.get("address", "")))),
    "model": lambda engine, body: engine.do(partial(engine.use_model, str(body.get("name", "")))),
}
"""POST /api/<verb>, steering; the OpenAPI document has their bodies."""
