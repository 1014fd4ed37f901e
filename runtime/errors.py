"""The errors that siamedge raises for a reason that somebody can act on."""


class SiamedgeError(Exception):
    """What failed, and one thing to do about it.

    Args:
        message: What failed: the file, tensor or device, and both numbers (found and expected).
        hint: One command or change that helps, or nothing.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BundleError(SiamedgeError):
    """The bundle is damaged, foreign or too new: get another one."""


class BackendError(SiamedgeError):
    """An inference library is missing or refuses the model: install or choose another."""


class SourceError(SiamedgeError):
    """Frames, boxes or a camera cannot be read: fix the source."""


class PlaceError(SiamedgeError):
    """What is to be written cannot stand there: name another place."""


class ExportError(SiamedgeError):
    """A checkpoint, calibration set or conversion is unusable: fix the export's inputs."""


class DeviceError(SiamedgeError):
    """The target device cannot take what was asked of it."""
