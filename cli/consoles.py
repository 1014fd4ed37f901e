"""Where commands print tables and lines for a person."""

from rich.console import Console


def plain_console() -> Console:
    """Standard output, text as it stands: the brackets of siamedge[onnx] are no markup, and numbers have no colours."""
    return Console(markup=False, highlight=False)
