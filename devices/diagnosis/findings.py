"""One line of a report on a device: how bad it is, what was found, and what helps."""

from typing import Literal, NamedTuple

Severity = Literal["ok", "note", "warning", "failure"]
EXIT_CODES: dict[Severity, int] = {"ok": 0, "note": 0, "warning": 3, "failure": 4}
"""Of `siamedge doctor`, by the worst finding; 1 and 2 are errors of siamedge and of usage."""


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        severity: How bad.
        subject: What it is about, one word or two.
        message: What was found.
        fix: What helps, empty when nothing is to be done.
    """

    severity: Severity
    subject: str
    message: str
    fix: str = ""
