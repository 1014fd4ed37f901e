"""What is read of the processor, from the text of /proc/cpuinfo."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from siamedge.runtime.backends import processor
from siamedge.runtime.backends.processor import cpu_signature, has_amx, processor_name


def test_a_processor_is_known_by_its_instructions_not_by_its_clock(tmp_path: Path) -> None:
    lines = "model name\t: EPYC\nflags\t\t: sse avx512f\ncpu MHz\t\t: {}\n\nprocessor\t: 1\nflags\t\t: other\n"
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(lines.format(2600))
    first = cpu_signature(cpuinfo)
    cpuinfo.write_text(lines.format(3900))
    assert cpu_signature(cpuinfo) == first
    cpuinfo.write_text(lines.format(3900).replace(" avx512f", ""))
    assert cpu_signature(cpuinfo) != first
    assert cpu_signature(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name : AMD EPYC 9R45\n", "AMD EPYC 9R45"),
        ("CPU implementer : 0x41\nCPU part : 0xd0b\n\nModel : Raspberry Pi 5\n", "Raspberry Pi 5 0x41 0xd0b"),
    ],
)
def test_the_processors_name(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_name(tmp_path / "cpuinfo") == name


def test_tiles_need_the_processor_and_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "flags : avx512f amx_tile{}\n\nflags : amx_int8\n"
    with_int8, without = tmp_path / "with", tmp_path / "without"
    with_int8.write_text(flags.format(" amx_int8"))
    without.write_text(flags.format(""))
    for may in (True, False):
        monkeypatch.setattr(processor, "may_use_tiles", lambda may=may: may)
        assert has_amx(with_int8) == may
        assert not has_amx(without)
        assert not has_amx(tmp_path / "nothing")


REFUSE_TILES = """
import ctypes, struct
from siamedge.runtime.backends.processor import CPUINFO, cpu_features, may_use_tiles

def step(code, value, then=0, otherwise=0):
    return struct.pack("HBBI", code, then, otherwise, value)

# Berkeley Packet Filter: system call 158 with 0x1023 as its first argument fails with EPERM, all else goes through.
steps = [step(0x20, 0), step(0x15, 158, 0, 3), step(0x20, 16), step(0x15, 0x1023, 0, 1),
         step(0x06, 0x50001), step(0x06, 0x7FFF0000)]
memory = ctypes.create_string_buffer(b"".join(steps))

class Program(ctypes.Structure):
    _fields_ = [("steps", ctypes.c_ushort), ("memory", ctypes.c_void_p)]

libc, program = ctypes.CDLL(None), Program(len(steps), ctypes.addressof(memory))
before = may_use_tiles()
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
    print("skip")
else:
    print(before == ("amx" in cpu_features(CPUINFO.read_text())), may_use_tiles())
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="numbers of x86-64 Linux")
def test_a_system_that_refuses_tiles_is_believed() -> None:
    """In a process of its own, since a filter of system calls stays."""
    run = subprocess.run([sys.executable, "-c", REFUSE_TILES], capture_output=True, text=True, timeout=60, check=True)
    if run.stdout.strip() == "skip":
        pytest.skip("this system takes no filter of system calls")
    assert run.stdout.split() == ["True", "False"]
