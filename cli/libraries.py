"""What a command needs that a device's install lacks."""

from collections.abc import Iterator
from contextlib import contextmanager

from siamedge.runtime.errors import ExportError


@contextmanager
def export_libraries(what: str) -> Iterator[None]:
    """Say what to install where an import inside the block fails.

    Args:
        what: Needs the libraries.

    Raises:
        ExportError: One is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("siamedge"):
            raise
        raise ExportError(f"{what} needs {error.name}", hint="pip install 'siamedge[export]'") from error
