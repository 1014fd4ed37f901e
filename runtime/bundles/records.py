"""Records to JSON and back, strictly: an unknown, missing or mistyped key is an error that names it."""

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
    """Write a record as JSON with sorted keys and a trailing newline: equal records give equal bytes."""
    return json.dumps(plain(record), indent=1, sort_keys=True, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Give what json.dumps takes: records, in whatever they stand, as dictionaries, and sets as sorted lists."""
    kind: Any = type(value)
    if is_record(kind):
        return {name: plain(getattr(value, name)) for name in names_of(kind)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


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
        kind: A record, Literal, union, tuple[X, ...], Mapping[str, X], or a plain type.
        value: What json.loads gave.
        where: Path of the value, for messages.

    Raises:
        RecordError: The value does not fit.
    """
    origin = get_origin(kind)
    if is_record(kind):
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


def is_record(kind: Any) -> bool:
    """Whether it is a NamedTuple or a dataclass; the former is made in a sixth of the time when a program starts."""
    return dataclasses.is_dataclass(kind) or (isinstance(kind, type) and hasattr(kind, "_field_defaults"))


@cache
def names_of(kind: Any) -> tuple[str, ...]:
    """Names of a record's fields."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else kind._fields


@cache
def needed_of(kind: Any) -> tuple[str, ...]:
    """Names of the fields that have no default."""
    if not dataclasses.is_dataclass(kind):
        return tuple(name for name in kind._fields if name not in kind._field_defaults)
    missing = dataclasses.MISSING
    return tuple(f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing)


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Types of a record's fields; a manifest holds hundreds of records of ten kinds."""
    return get_type_hints(kind)


def _parse_record(kind: Any, value: Any, where: str) -> Any:
    _checked(isinstance(value, dict), value, "an object", where)
    hints = hints_of(kind)
    unknown = sorted(value.keys() - set(names_of(kind)))
    if unknown:
        raise RecordError(f"{_at(where)}unknown key {unknown[0]!r}")
    for name in needed_of(kind):
        if name not in value:
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
    if isinstance(value, str) and not value.isascii():
        _checked(is_printable(value), ascii(value), "a text that can be printed", where)
    return _checked(is_fitting, value, PLAIN_NAMES.get(kind, kind.__name__), where)


def is_printable(text: str) -> bool:
    """Whether a text is made of whole characters; JSON can name halves of them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(is_fitting: bool, value: Any, wanted: str, where: str) -> Any:
    if not is_fitting:
        raise RecordError(f"{_at(where)}expected {wanted}, found {str(value)[:60]!r}")
    return value


def _at(where: str) -> str:
    return f"{where.lstrip('.')}: " if where else ""
