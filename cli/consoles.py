"""Where commands print tables and lines for a person."""

import os
import sys

from rich.console import Console

PIPE_COLUMNS = 200
"""Width where there is no terminal to ask: a table in a file or a pipe must not lose digits."""


def plain_console() -> Console:
    """Standard output, text as it stands: the brackets of siamedge[onnx] are no markup, and numbers have no colours."""
    is_asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(markup=False, highlight=False, width=None if is_asked else PIPE_COLUMNS)
