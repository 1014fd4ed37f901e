"""The doctor's findings on broken boards, and on this machine with real and with broken libraries."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from siamedge.cli.doctor import doctor
from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.reading import read_capabilities
from siamedge.devices.boards.recording import parse_recording
from siamedge.devices.connection.transport import LocalTransport
from siamedge.devices.diagnosis.diagnosing import diagnose
from siamedge.devices.diagnosis.findings import Finding
from siamedge.devices.diagnosis.libraries_tried import backend_findings
from siamedge.devices.diagnosis.probing import Probe, Ran, probe
from siamedge.devices.diagnosis.system import clock_findings, system_findings
from siamedge.devices.libraries import explain_import

BOARDS = Path(__file__).parent / "boards"
RECORDED_AT_S = 1793000000


def board(name: str) -> Capabilities:
    return read_capabilities(parse_recording((BOARDS / f"{name}.txt").read_text(encoding="utf-8")))


def findings(name: str) -> list[Finding]:
    return list(system_findings(board(name), RECORDED_AT_S))


def lines(name: str) -> list[str]:
    return [f"{f.severity} {f.subject}: {f.message}" for f in findings(name) if f.severity != "ok"]


def test_a_healthy_board_has_nothing_to_fix() -> None:
    assert lines("cm5") == ["note camera: no capture node"]
    assert all(f.fix == "" for f in findings("cm5") if f.severity == "ok")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("lunar-lake-no-group", "warning npu: /dev/accel/accel0 is closed to user (group render, mode 660)"),
        ("lunar-lake-no-group", "warning camera: /dev/video0 (Integrated Camera: Integrated C) is closed to user"),
        ("panther-lake-no-driver", "warning npu: there, but without /dev/accel node: kernel 6.1 is older than 6.6"),
        ("broken-disk-and-clock", "failure disk: /opt is mounted read-only"),
        ("broken-disk-and-clock", "failure disk: 117 MiB free in /opt, 400 needed"),
        ("broken-disk-and-clock", "failure clock: it says 1970-01-01 01:10 UTC, 498054.4 h from this machine's"),
        ("broken-disk-and-clock", "failure power: under-voltage now"),
        ("broken-disk-and-clock", "warning temperature: 86 C, slows down from about 80"),
        ("jetson-nano", "failure libc: glibc 2.27 is too old for tflite, openvino, onnxruntime"),
        ("jetson-nano", "failure python: 3.6 (cpython, 64 bit) found, a 64-bit CPython 3.10 or newer needed"),
        ("jetson-xavier-nx", "note libc: glibc 2.31 is too old for tflite, openvino"),
        ("pi3b-plus-32bit", "failure libc: glibc 2.36, but the system is 32-bit on a aarch64 kernel"),
        ("pi5", "warning power: throttled now"),
    ],
)
def test_broken_boards_give_their_line(name: str, line: str) -> None:
    assert line in lines(name)


@pytest.mark.parametrize(
    ("off_s", "severity"), [(299, "ok"), (-299, "ok"), (301, "warning"), (86000, "warning"), (-86500, "failure")]
)
def test_a_clock_that_is_off_by_minutes_or_days(off_s: int, severity: str) -> None:
    (found,) = clock_findings(replace(board("pi4"), clock_s=RECORDED_AT_S + off_s), RECORDED_AT_S)
    assert (found.severity, found.fix == "") == (severity, severity == "ok")


def test_every_finding_that_is_not_fine_says_what_helps() -> None:
    for path in BOARDS.glob("*.txt"):
        assert [f for f in findings(path.stem) if f.severity in ("warning", "failure") and not f.fix] == []


def test_a_node_that_its_group_may_not_open_needs_a_rule() -> None:
    lake = board("lunar-lake-no-group")
    assert lake.npu_node is not None
    path, node = lake.npu_node
    joins = next(f for f in system_findings(lake, RECORDED_AT_S) if f.subject == "npu")
    assert joins.fix == "sudo usermod -aG render user, then log in again"
    closed = replace(lake, npu_node=(path, node._replace(mode=0o600, group="root")))
    rule = next(f for f in system_findings(closed, RECORDED_AT_S) if f.subject == "npu")
    assert rule.fix.startswith('put SUBSYSTEM=="accel", GROUP="render", MODE="0660" into /etc/udev/rules.d/')


def test_the_file_system_that_is_read_only_is_named() -> None:
    text = (BOARDS / "broken-disk-and-clock.txt").read_text(encoding="utf-8")
    text = text.replace(" /dev/root / ext4 ro,", " /dev/root / ext4 rw,\n /dev/sda1 /opt ext4 ro,")
    text = text.replace("/dev/root 30000000 5000000 120000 20% /", "/dev/sda1 30000000 5000000 120000 20% /opt")
    device = read_capabilities(parse_recording(text))
    fixes = [f.fix for f in system_findings(device, RECORDED_AT_S) if "read-only" in f.message]
    assert fixes == ["sudo mount -o remount,rw /opt (dmesg says why)"]


def test_npu_that_openvino_does_not_list() -> None:
    ran = (Ran("CPU", "CPU", "", 1.0),)
    found = list(backend_findings(board("meteor-lake"), [Probe("openvino", "2026.4", "", ran)]))
    assert (
        Finding(
            "warning",
            "npu",
            "OpenVINO cannot use it",
            "install Intel's NPU driver: the packages of github.com/intel/linux-npu-driver",
        )
        in found
    )


def test_model_that_ran_elsewhere_is_a_warning() -> None:
    found = list(backend_findings(board("n100"), [Probe("openvino", "2026.4", "", (Ran("GPU", "CPU", "", 1.0),))]))
    assert found[0][:3] == ("warning", "openvino GPU", "listed, but the model ran on CPU")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (
            "ImportError: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by x.so)",
            "it was built for glibc 2.34, this device has 2.31",
        ),
        (
            "ImportError: libcublasLt.so.12: cannot open shared object file",
            "the CUDA library libcublasLt.so.12 is not installed",
        ),
        ("ImportError: libGL.so.1: cannot open shared object file", "the system library libGL.so.1 is missing"),
        ("AttributeError: _ARRAY_API not found", "it was built for numpy 1 and numpy 2 is installed"),
        ("ImportError: /x/_rt.so: wrong ELF class: ELFCLASS32", "it was built for another processor"),
    ],
)
def test_import_errors_are_explained(error: str, meaning: str) -> None:
    explained = explain_import(error, (2, 31))
    assert explained is not None
    assert explained[0] == meaning


def library(folder: Path, name: str, source: str) -> tuple[str, ...]:
    """An interpreter that finds a package of that source before the real one."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    (folder / "python").write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n', encoding="utf-8")
    (folder / "python").chmod(0o755)
    return (str(folder / "python"),)


LISTED_ONLY = """
import numpy as np
__version__ = "1.23"
def set_default_logger_severity(level): pass
def get_available_providers(): return ["CUDAExecutionProvider", "CPUExecutionProvider"]
class SessionOptions:
    log_severity_level = 2
    def add_session_config_entry(self, key, value): pass
class InferenceSession:
    def __init__(self, model, options, providers): pass
    def get_providers(self): return ["CPUExecutionProvider"]
    def run(self, names, feeds): return [np.array([[7, 14, 0, 4]], np.float32)]
"""


def test_cuda_that_is_listed_but_runs_on_the_cpu(tmp_path: Path) -> None:
    found = probe(LocalTransport(), library(tmp_path, "onnxruntime", LISTED_ONLY), "onnxruntime")
    rows = list(backend_findings(board("jetson-orin-nano"), [found]))
    assert rows[0][:3] == ("warning", "onnxruntime CUDA", "listed, but the model ran on CPU")
    assert rows[1][:2] == ("ok", "onnxruntime CPU")


def test_cuda_that_is_listed_but_does_not_load(tmp_path: Path) -> None:
    missing = "libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file"
    starts = "def __init__(self, model, options, providers): "
    fails = f"{starts}\n        if 'CUDA' in providers[0]: raise RuntimeError('Failed to load library {missing}')"
    broken = LISTED_ONLY.replace(f"{starts}pass", fails)
    found = probe(LocalTransport(), library(tmp_path, "onnxruntime", broken), "onnxruntime")
    rows = list(backend_findings(board("jetson-orin-nano"), [found]))
    assert rows[0] == Finding(
        "warning",
        "onnxruntime CUDA",
        "listed, but does not run: the CUDA library libcublasLt.so.12 is not installed",
        "install JetPack's CUDA packages, or use the CPU",
    )
    assert rows[1][:2] == ("ok", "onnxruntime CPU")


def test_wrong_numbers_are_an_error(tmp_path: Path) -> None:
    wrong = LISTED_ONLY.replace("[7, 14, 0, 4]", "[7, 14, -1, 4]")
    found = probe(LocalTransport(), library(tmp_path, "onnxruntime", wrong), "onnxruntime")
    assert found.devices[1].error == "computed [7.0, 14.0, -1.0, 4.0], expected [7.0, 14.0, 0.0, 4.0]"


def test_library_for_another_libc(tmp_path: Path) -> None:
    source = 'raise ImportError("/lib/libc.so.6: version `GLIBC_2.38\' not found")'
    found = probe(LocalTransport(), library(tmp_path, "openvino", source), "openvino")
    rows = list(backend_findings(board("pi4"), [found]))
    assert rows[0][:3] == ("warning", "openvino", "does not load: it was built for glibc 2.38, this device has 2.36")


def test_a_library_that_crashes_is_a_finding(tmp_path: Path) -> None:
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
    found = probe(LocalTransport(), library(tmp_path, "openvino", source), "openvino")
    assert found.error == "the process died: illegal instruction"


def test_a_missing_library_is_only_a_note() -> None:
    rows = list(backend_findings(board("pi4"), [Probe("tflite", "", "ModuleNotFoundError: No module named 'x'", ())]))
    assert rows[0] == Finding("note", "tflite", "not installed", "pip install 'siamedge[tflite]'")
    assert rows[1][:3] == ("warning", "backends", "no library runs a model yet")


@pytest.mark.parametrize(
    ("backend", "package"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("tflite", "ai_edge_litert")]
)
def test_installed_libraries_run_the_tiny_model(backend: str, package: str) -> None:
    pytest.importorskip(package)
    found = probe(LocalTransport(), (sys.executable,), backend)
    assert found.error == ""
    cpu = next(ran for ran in found.devices if ran.device == "CPU")
    assert (cpu.ran_on, cpu.error) == ("CPU", "")


def test_a_node_that_is_no_camera_is_told() -> None:
    found = probe(LocalTransport(), (sys.executable,), "cameras", ["/dev/null"])
    assert found.devices[0][:3] == ("/dev/null", "", "does not open")


def test_command_prints_json_and_exits_by_severity() -> None:
    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, ["--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == report["exit_code"]
    assert report["device"]["machine"] == diagnose(LocalTransport(), ("false",)).device.machine
    assert {"severity", "subject", "message", "fix"} == set(report["findings"][0])
