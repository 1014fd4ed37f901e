"""An inference library that cannot be used here: why, and what helps."""

from collections.abc import Iterable

_ABSENT = "is not installed"


def import_failure(library: str, module: str, error: ImportError | None) -> str:
    """Say why a library cannot be used: it is not there, or it is there and does not load.

    Args:
        library: Its name for people.
        module: What was imported.
        error: What importing it raised: about another module it tells what the library lacks. None: it is not there.
    """
    is_absent = error is None or _is_of_nothing(module, error)
    return f"{library} {_ABSENT}" if is_absent else f"{library} does not load: {error}"


def _is_of_nothing(module: str, error: ImportError) -> bool:
    """Whether a module was not found, or only the folder that it leaves when it is removed, which has no file."""
    is_it = _package(error.name or "") == _package(module)
    return is_it and (isinstance(error, ModuleNotFoundError) or error.path is None)


def _package(module: str) -> str:
    return module.partition(".")[0]


def is_absence(reason: str) -> bool:
    """Whether a reason against a backend is that its library is not there."""
    return _ABSENT in reason


def remedy(reasons: Iterable[str]) -> str:
    """Say what helps where no backend can run a bundle: one of the missing libraries, else a look at the device."""
    is_missing = any(map(is_absence, reasons))
    return "install one of these libraries" if is_missing else "siamedge doctor tells what this device can run"
