"""Frozen dataclasses to JSON and back, strictly: an unknown, missing or mistyped key is an error that names it."""

import dataclasses
import json
import sys
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
PLAIN_NAMES: Mapping[type, str] = {int: "an integer", float: "a number", str: "a text", types.NoneType: "null"}
"""How messages call the types that JSON has."""


class RecordError(ValueError):
    """A JSON value does not fit its record; the message says where."""


def to_json(record: object) -> str:
    """Write a dataclass as JSON with sorted keys and a trailing newline: equal records give equal bytes."""
    values = dataclasses.asdict(record)  # type: ignore[call-overload]
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read what to_json wrote.

    Raises:
        RecordError: The text is no JSON, or does not fit.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not JSON: {error}") from error
    parsed: T = parse(kind, value, "")
    return parsed


def parse(kind: Any, value: Any, where: str) -> Any:
    """Turn a JSON value into the type of an annotation.

    Args:
        kind: A dataclass, Literal, union, tuple[X, ...], Mapping[str, X], or a plain type.
        value: What json.loads gave.
        where: Path of the value, for messages.

    Raises:
        RecordError: The value does not fit.
    """
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_record(kind, value, where)
    if origin is Literal:
        return _checked(value in get_args(kind), value, f"one of {', '.join(map(str, get_args(kind)))}", where)
    if origin in (Union, types.UnionType):
        return _parse_union(kind, value, where)
    if origin is tuple:
        return _parse_tuple(kind, value, where)
    if origin is not None and issubclass(origin, Mapping):
        _checked(isinstance(value, dict), value, "an object", where)
        return {key: parse(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    return _parse_plain(kind, value, where)


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Types of a record's fields; a manifest holds hundreds of records of ten kinds."""
    return get_type_hints(kind)


def _parse_record(kind: Any, value: Any, where: str) -> Any:
    _checked(isinstance(value, dict), value, "an object", where)
    hints = hints_of(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(value.keys() - fields.keys())
    if unknown:
        raise RecordError(f"{_at(where)}unknown key {unknown[0]!r}")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not has_default:
            raise RecordError(f"{_at(where)}missing key {name!r}")
    return kind(**{name: parse(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _parse_union(kind: Any, value: Any, where: str) -> Any:
    reasons = []
    for option in get_args(kind):
        try:
            return parse(option, value, where)
        except RecordError as error:
            reasons.append(str(error))
    deeper = [reason for reason in reasons if "expected one of" not in reason]
    raise RecordError((deeper or reasons)[0])


def _parse_tuple(kind: Any, value: Any, where: str) -> Any:
    _checked(isinstance(value, list), value, "a list", where)
    kinds = get_args(kind)
    if kinds[-1] is Ellipsis:
        return tuple(parse(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _checked(len(value) == len(kinds), value, f"{len(kinds)} values", where)
    return tuple(
        parse(option, item, f"{where}[{i}]") for i, (option, item) in enumerate(zip(kinds, value, strict=True))
    )


def _parse_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) in (int, float):
        is_number = abs(value) <= sys.float_info.max  # also false for the NaN that json.loads lets through
        return float(_checked(is_number, value, "a finite number", where))
    is_fitting = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return _checked(is_fitting, value, PLAIN_NAMES.get(kind, kind.__name__), where)


def _checked(is_fitting: bool, value: Any, wanted: str, where: str) -> Any:
    if not is_fitting:
        raise RecordError(f"{_at(where)}expected {wanted}, found {str(value)[:60]!r}")
    return value


def _at(where: str) -> str:
    return f"{where.lstrip('.')}: " if where else ""
