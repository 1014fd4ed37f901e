"""Remarks of C libraries are dropped; what Python tells at the same time is not."""

import os
import subprocess
import sys

import pytest

TELL = """
import sys, threading
import cv2
import numpy as np
from siamedge.runtime.native_stderr import quiet_native_stderr

noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
damaged = cv2.imencode(".jpg", noise)[1].copy()
damaged[700:760] = 0
for turn in "first", "second":
    with quiet_native_stderr(), quiet_native_stderr():
        cv2.imdecode(damaged, cv2.IMREAD_COLOR)
        other = threading.Thread(target=print, args=(f"{turn} link",), kwargs={"file": sys.stderr})
        other.start()
        other.join()
    cv2.imdecode(damaged, cv2.IMREAD_COLOR)
"""


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="needs glibc")
def test_a_line_of_python_is_told_while_a_library_is_kept_quiet() -> None:
    run = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    lines = run.stderr.splitlines()
    assert [line[:12] for line in lines] == ["first link", "Corrupt JPEG", "second link", "Corrupt JPEG"]
