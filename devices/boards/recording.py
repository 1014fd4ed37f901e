"""A device as text: what record.sh prints there, parsed; also the form in which boards are kept as test data."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.resources import files
from typing import NamedTuple

from siamedge.runtime.errors import DeviceError


class Node(NamedTuple):
    """Who may open a device node.

    Attributes:
        mode: Permission bits, such as 0o660.
        owner: User name.
        group: Group name.
    """

    mode: int
    owner: str
    group: str

    def is_open_to(self, user: str, groups: frozenset[str]) -> bool:
        """Whether that user, with those groups, may read and write it."""
        if user == "root" or self.mode & 0o006 == 0o006:
            return True
        if user == self.owner and self.mode & 0o600 == 0o600:
            return True
        return self.group in groups and self.mode & 0o060 == 0o060


@dataclass(frozen=True, slots=True)
class Recording:
    """Files, nodes and command outputs of one device at one time.

    Attributes:
        texts: Absolute path to content, NUL bytes as newlines.
        nodes: Absolute path to permissions.
        outputs: Command line to standard output.
    """

    texts: Mapping[str, str]
    nodes: Mapping[str, Node]
    outputs: Mapping[str, str]

    def read(self, path: str) -> str:
        """Content of a file without surrounding white space, empty where there is none."""
        return self.texts.get(path, "").strip()

    def output(self, command: str) -> str:
        """What a command printed, without surrounding white space, empty where it failed or was not run."""
        return self.outputs.get(command, "").strip()

    def paths(self, pattern: str) -> tuple[str, ...]:
        """Recorded files that match a shell pattern, sorted."""
        return tuple(sorted(path for path in self.texts if fnmatch(path, pattern)))


def recorder_script() -> str:
    """The shell script that prints a recording: `sh -c SCRIPT sh ROOT FOLDER`."""
    return files(__package__).joinpath("record.sh").read_text(encoding="utf-8")


def parse_recording(text: str) -> Recording:
    """Read what record.sh printed.

    Raises:
        DeviceError: The text has no entry, or an entry has no name.
    """
    texts: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    outputs: dict[str, str] = {}
    for header, body in _entries(text):
        fields = header.split()
        if header.startswith("$ "):
            outputs[header[2:]] = body
        elif len(fields) == 4:
            nodes[fields[0]] = Node(int(fields[1], 8), fields[2], fields[3])
        elif fields:
            texts[fields[0]] = body
        else:
            raise DeviceError("recording has an entry without a name", hint="record the device again")
    if not texts and not outputs:
        raise DeviceError(f"recording has no entry in {len(text)} characters", hint="is it the output of record.sh?")
    return Recording(texts, nodes, outputs)


def _entries(text: str) -> list[tuple[str, str]]:
    """Header and unindented body of each entry; lines that are neither are dropped."""
    entries: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("== "):
            entries.append((line[3:].strip(), []))
        elif line.startswith(" ") and entries:
            entries[-1][1].append(line[1:])
    return [(header, "\n".join(lines)) for header, lines in entries]
