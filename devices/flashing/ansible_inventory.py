"""Ansible inventories, INI and YAML, as far as a flash needs them: hosts, groups, and variables in the file itself."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from siamedge.runtime.errors import DeviceError

INI_SUFFIXES = ("", ".ini", ".cfg", ".hosts")
YAML_SUFFIXES = (".yml", ".yaml")
Variables = Mapping[str, Any]


@dataclass(slots=True)
class Group:
    """A group as it stands in the file.

    Attributes:
        hosts: Name to variables.
        variables: Of the group.
        children: Names of groups.
    """

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)


def read_hosts(path: Path) -> dict[str, Variables]:
    """The hosts of an inventory file in its order, each with the variables that hold for it.

    A host's own variables win over its groups', a group's over its parents'; group_vars/ and host_vars/ are not read.

    Raises:
        DeviceError: The file cannot be read or understood, or YAML is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path.name} cannot be read: {error}", hint="docs/flash.md has an example") from error
    groups = groups_of_yaml(text, path.name) if path.suffix in YAML_SUFFIXES else groups_of_ini(text, path.name)
    return resolved(groups, path.name)


def resolved(groups: Mapping[str, Group], name: str) -> dict[str, Variables]:
    """Every host with its variables, those of the nearest group last.

    Every host is in "all"; one that is in no other group is in "ungrouped".

    Raises:
        DeviceError: A group is its own descendant.
    """
    depths = {group: depth_of(group, groups, (), name) for group in groups}
    hosts = list(dict.fromkeys(host for group in groups.values() for host in group.hosts))
    found: dict[str, Variables] = {}
    for host in hosts:
        direct = {group for group in groups if host in groups[group].hosts} - {"all", "ungrouped"} or {"ungrouped"}
        members = {group for group in groups if direct & {group, *below(group, groups)}} | {"all"} & groups.keys()
        merged: dict[str, Any] = {}
        for group in sorted(members, key=lambda group: (depths[group], group)):
            merged |= groups[group].variables
        for entry in groups.values():
            merged |= entry.hosts.get(host, {})
        found[host] = merged
    return found


def below(group: str, groups: Mapping[str, Group]) -> Iterator[str]:
    """All descendants of a group."""
    for child in groups[group].children:
        yield child
        yield from below(child, groups)


def depth_of(group: str, groups: Mapping[str, Group], seen: tuple[str, ...], name: str) -> int:
    """How many groups are above a group at most; "all" is above every one.

    Raises:
        DeviceError: It is above itself.
    """
    if group in seen:
        raise DeviceError(
            f"{name}: group {group} is part of itself", hint="`ansible-inventory --graph` shows the groups"
        )
    parents = [parent for parent in groups if group in groups[parent].children]
    return (group != "all") + max((depth_of(parent, groups, (*seen, group), name) for parent in parents), default=0)


def groups_of_ini(text: str, name: str) -> dict[str, Group]:
    """Groups of an INI inventory; hosts before the first heading are in "ungrouped".

    Raises:
        DeviceError: A line is not understood.
    """
    groups: dict[str, Group] = {}
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        try:
            if heading := re.fullmatch(r"\[([^\]:]+)(?::(\w+))?\]\s*(?:[#;].*)?", line):
                group, kind = heading[1], heading[2] or "hosts"
                groups.setdefault(group, Group())
            _add_line(groups, group, kind, "" if heading else line)
        except (KeyError, ValueError) as error:
            hint = "`ansible-inventory --list` checks the file"
            raise DeviceError(f"{name}, line {number}: {line!r} is not understood", hint=hint) from error
    return groups


def _add_line(groups: dict[str, Group], group: str, kind: str, line: str) -> None:
    if kind not in ("hosts", "vars", "children") or line.startswith("["):
        raise ValueError(kind)
    target = groups.setdefault(group, Group())
    if not line:
        return
    if kind == "vars":
        key, _, value = line.partition("=")
        target.variables[key.strip()] = literal(value.strip())
    elif kind == "children":
        child = line.split(maxsplit=1)[0]
        groups.setdefault(child, Group())
        target.children.append(child)
    else:
        pattern, *words = shlex.split(line, comments=True)
        variables = dict(word.split("=", 1) for word in words)
        for host in expanded(pattern):
            own = target.hosts.setdefault(host, {})
            own |= {key: literal(value) for key, value in variables.items()}


def literal(text: str) -> Any:
    """A Python literal, as Ansible reads INI values; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def expanded(pattern: str) -> Iterator[str]:
    """The hosts of a pattern such as cam[01:12], cam[a:f] or cam[0:20:5].

    Raises:
        ValueError: A range is none.
    """
    found = re.fullmatch(r"(.*?)\[(\w+):(\w+)(?::(\d+))?\](.*)", pattern)
    if found is None:
        yield pattern
        return
    before, first, last, step, after = found.groups()
    if first.isdecimal() and last.isdecimal():
        texts = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1, int(step or 1))]
    elif len(first) > 1 or len(last) > 1:
        raise ValueError(pattern)
    else:
        texts = [chr(n) for n in range(ord(first), ord(last) + 1, int(step or 1))]
    for text in texts:
        for rest in expanded(after):
            yield f"{before}{text}{rest}"


def groups_of_yaml(text: str, name: str) -> dict[str, Group]:
    """Groups of a YAML inventory.

    Raises:
        DeviceError: It is no inventory, or PyYAML is not installed.
    """
    try:
        yaml = import_module("yaml")
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"{name}: reading YAML needs PyYAML", hint="pip install pyyaml, or use INI or TOML"
        ) from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DeviceError(f"{name} is no YAML: {' '.join(str(error).split())}", hint="see docs/flash.md") from error
    groups: dict[str, Group] = {}
    try:
        for group, entry in (content or {}).items():
            _add_yaml(groups, group, entry)
    except (AttributeError, TypeError, ValueError) as error:
        hint = "`ansible-inventory --list` checks the file"
        raise DeviceError(f"{name} is no Ansible inventory", hint=hint) from error
    return groups


def _add_yaml(groups: dict[str, Group], name: str, entry: Mapping[str, Any] | None) -> None:
    group = groups.setdefault(name, Group())
    entry = entry or {}
    for pattern, variables in (entry.get("hosts") or {}).items():
        for host in expanded(str(pattern)):
            own = group.hosts.setdefault(host, {})
            own |= variables or {}
    group.variables |= entry.get("vars") or {}
    for child, below_it in (entry.get("children") or {}).items():
        group.children.append(child)
        _add_yaml(groups, child, below_it)
