"""The OpenAPI document of the HTTP interface."""

from collections.abc import Iterable, Mapping
from typing import Any

from siamedge.runtime.web.targets import MOST_TARGETS

Schema = Mapping[str, Any]
BOX: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x, y, w, h in pixels of the frame, 0-based, from its left top",
}
ID: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_TARGETS}
BODIES: Mapping[str, tuple[str, Mapping[str, Schema]]] = {
    "target": (
        "Follow what is in a box of the newest frame; with the id of a target, in its place",
        {"box": BOX, "id": ID},
    ),
    "remove": ("Follow a target no longer", {"id": ID}),
    "pause": ("Hold the picture and the trackers", {}),
    "resume": ("Go on", {}),
    "step": ("While paused, follow one frame", {}),
    "reset": ("Forget all targets and open the source again", {}),
    "record": ("Begin or end a recording on the device", {"on": {"type": "boolean", "default": True}}),
    "source": ("Change to another of the sources in the state", {"address": {"type": "string"}}),
    "model": ("Change to another of the models in the state", {"name": {"type": "string"}}),
}
"""Verb to its summary and the properties of its body."""
ERROR: Schema = {"type": "object", "properties": {"error": {"type": "string"}, "hint": {"type": "string"}}}
CLIENT: Schema = {
    "name": "X-Client",
    "in": "header",
    "schema": {"type": "string"},
    "description": "Who steers; one client at a time does. Programs that leave it out are all the client 'api'.",
}


def document(verbs: Iterable[str]) -> dict[str, Any]:
    """The document of the interface with these verbs."""
    paths: dict[str, Any] = {f"/api/{verb}": {"post": steering(*BODIES[verb])} for verb in verbs}
    paths["/api/control"] = {"post": steering("Take control over from another client", {})}
    paths["/api/state"] = {"get": reading("Everything that the page knows", "application/json")}
    paths["/api/snapshot.jpg"] = {"get": reading("The newest frame in full size with its boxes", "image/jpeg")}
    paths["/api/stream"] = {
        "get": {
            "summary": "WebSocket: the newest frame and state, each time the last message was answered",
            "description": "Binary: 4 bytes big-endian length, that much JSON (as /api/state), then a JPEG, which is "
            "empty where the picture is that of the message before. Answer each message with any text to get the next, "
            "which comes within about a second also where nothing is new.",
            "responses": {"101": {"description": "Switching protocols"}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "siamedge track --web", "version": "1"},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
        "paths": paths,
    }


def steering(summary: str, properties: Mapping[str, Schema]) -> dict[str, Any]:
    """A POST."""
    operation: dict[str, Any] = {"summary": summary, "parameters": [CLIENT], "responses": responses("application/json")}
    if properties:
        schema = {"type": "object", "properties": dict(properties)}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def reading(summary: str, media: str) -> dict[str, Any]:
    """A GET."""
    return {"summary": summary, "responses": responses(media)}


def responses(media: str) -> dict[str, Any]:
    """The answers of every operation."""
    described = {
        "400": "it cannot be done; the error says why",
        "401": "the token is missing or wrong",
        "403": "the request comes from another site's page",
        "423": "another client is in control",
        "500": "siamedge has a bug; its traceback is in the log",
    }
    failures = {
        code: {"description": text, "content": {"application/json": {"schema": ERROR}}}
        for code, text in described.items()
    }
    return {"200": {"description": "done", "content": {media: {}}}, **failures}
