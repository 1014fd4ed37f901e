"""Small releases for tests: a layer of a few files, a service that only says READY, a check that a test decides."""

import random
from pathlib import Path

from siamedge.devices.releases.layers import seal
from siamedge.devices.releases.release import Release, tie

SERVICE = """#!/bin/sh
exec {python} -I -c 'import os, socket, time
if {ready}:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    time.sleep({lives_s})
raise SystemExit("the camera is gone")' {text}
"""
UNIT = "[Service]\nExecStart={base}/current/serve\n"


def small_release(
    folder: Path,
    base: Path,
    text: str,
    *,
    python: str,
    check: str = "#!/bin/sh\necho fine\n",
    tune: str = "",
    ready: bool = True,
    lives_s: float = 600,
    size: int = 200_000,
) -> Release:
    """A release whose bundle holds `text` and `size` bytes that do not compress."""
    content = folder / f"bundle-{text}"
    content.mkdir(parents=True)
    (content / "text").write_text(text)
    (content / "models").mkdir()
    (content / "models/noise").write_bytes(random.Random(text).randbytes(size))
    files = {
        "check": check,
        "serve": SERVICE.format(python=python, ready=ready, lives_s=lives_s, text=text),
        "siamedge.service": UNIT.format(base=base),
    }
    if tune:
        files["tune"] = tune
    return tie([seal(content, "bundle")], files, folder / f"release-{text}")
