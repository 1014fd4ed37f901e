"""Tier A: the flashed payload under qemu-aarch64 in real Debian userlands computes what this machine computes."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.devices.boards.recording import parse_recording
from siamedge.devices.flashing.preflight import FORMAT_OF
from siamedge.devices.flashing.preparing import FlashOptions, Parts, cache_folder, make_release
from siamedge.devices.flashing.systems import SYSTEMS, assume
from siamedge.devices.releases.release import Release
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.geometry import Image, Point
from siamedge.runtime.sources.source import open_source

HERE = Path(__file__).parent
SUITES = ("bookworm", "trixie")
BACKENDS = ("tflite", "onnxruntime", "openvino")
PACKAGES = "python3-minimal,libpython3-stdlib,python3,libstdc++6,libgomp1"
CORTEX_A72 = "0x00000000410fd083\n"
"""MIDR_EL1 of r0p3; OpenVINO's int8 kernels read it from /sys."""
FP32_TOLERANCE = 1e-4
INT8_LEVELS = 255
"""One step of an int8 output is the difference of two neighbouring values that it takes. OpenVINO's last layers are
float, so its outputs have no step of their own: there it is a 255th of the range of the output over one crop."""
RUN_LIMIT_S = 900

pytestmark = [pytest.mark.slow, pytest.mark.emulated]


def needed(*programs: str) -> None:
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed")


@pytest.fixture(scope="session", params=SUITES)
def userland(request: pytest.FixtureRequest) -> Path:
    """An unpacked arm64 Debian, made once in the cache; no root is needed."""
    needed("qemu-aarch64-static", "mmdebstrap")
    root = cache_folder() / "userlands" / request.param
    if not (root / "usr/bin/python3").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", f"--include={PACKAGES}"]
        done = subprocess.run([*command, request.param, str(root)], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(root, ignore_errors=True)
            pytest.skip(f"mmdebstrap made no {request.param}: {done.stderr.splitlines()[-1:]}")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (root / "proc").mkdir(exist_ok=True)
    pi4 = parse_recording((HERE / "boards/pi4.txt").read_text())
    one = pi4.texts["/proc/cpuinfo"]
    (root / "proc/cpuinfo").write_text("".join(f"{one.replace('0', str(i), 1)}\n\n" for i in range(4)))
    for index in range(4):
        registers = root / f"sys/devices/system/cpu/cpu{index}/regs/identification"
        registers.mkdir(parents=True, exist_ok=True)
        (registers / "midr_el1").write_text(CORTEX_A72)
    return root


@pytest.fixture(scope="session")
def release(userland: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """What flash would send to a Pi 4 with that system, with every library."""
    found, platform = assume("pi4", userland.name, tuple(FORMAT_OF.values()))
    choice = found.choices[0]
    every = tuple(choice._replace(backend=name) for name in BACKENDS)
    parts = Parts(bundle, found._replace(choices=every), platform, ("video",))
    return make_release(parts, FlashOptions(), cache_folder(), tmp_path_factory.mktemp("release") / "work")


@pytest.fixture(scope="session")
def crops(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template and three search crops of the synthetic scene."""
    params = Bundle.open(bundle).manifest.tracker.params
    with open_source("synthetic:") as source:
        frames = [frame.image for frame, _ in zip(source, range(4), strict=False)]
        box = source.box_at(0)  # type: ignore[attr-defined]
    template = cut(frames[0], box.center, 2 * box.w, params.template_px)
    wide = 2 * box.w * params.search_px / params.template_px
    search = [cut(frame, box.center, wide, params.search_px) for frame in frames[1:]]
    path = tmp_path_factory.mktemp("crops") / "crops.npz"
    np.savez(path, template=template, search=np.stack(search))
    return path


def cut(image: Image, center: Point, side_px: float, out_px: int) -> Image:
    """A square around a point, moved into the image where it leaves it."""
    side = min(int(side_px), *image.shape[:2])
    left, top = (int(np.clip(c - side / 2, 0, size - side)) for c, size in zip(center, image.shape[1::-1], strict=True))
    return cv2.resize(image[top : top + side, left : left + side], (out_px, out_px)).astype(np.uint8)


def here(arguments: list[str], **environment: str) -> None:
    command = [sys.executable, str(HERE / "run_graphs.py"), *arguments]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, **environment})


def there(userland: Path, release: Release, arguments: list[str]) -> None:
    python = ".".join(map(str, SYSTEMS[userland.name].python))
    folders = {layer.kind: layer.folder for layer in release.layers}
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(Path(arguments[-1]).parent),
        "PYTHONPATH": f"{folders['code']}:{folders['site']}",
        "PYTHONHOME": f"{userland}/usr",
        "PYTHONDONTWRITEBYTECODE": "1",
        "QEMU_CPU": "cortex-a72",
        "QEMU_LD_PREFIX": str(userland),
    }
    command = ["qemu-aarch64-static", f"{userland}/usr/bin/python{python}", str(HERE / "run_graphs.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=RUN_LIMIT_S)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_same_outputs_as_here(
    userland: Path, release: Release, bundle: Path, crops: Path, tmp_path: Path, backend: str, precision: str
) -> None:
    ours, theirs, feeds = (tmp_path / name for name in ("here.npz", "there.npz", "feeds.npz"))
    here([str(bundle), backend, precision, str(crops), str(ours)])
    wanted = kernels_given(crops, ours, feeds)
    there(userland, release, [str(bundle), backend, precision, str(feeds), str(theirs)])
    found = dict(np.load(theirs))
    assert set(found) == set(wanted)
    for name, want in wanted.items():
        worst = float(np.abs(found[name].astype(np.float64) - want).max())
        share = float(np.ptp(want)) / INT8_LEVELS
        step = share if (backend, precision) == ("openvino", "int8") else one_step(want)
        allowed = max(FP32_TOLERANCE * float(np.abs(want).max()), step)
        told = f"{worst:.3g} or {worst / share:.3g} of {INT8_LEVELS} steps of its range, allowed {allowed:.3g}"
        sys.stdout.write(f"{userland.name} {backend} {precision} {name}: {told}\n")
        assert worst <= allowed, name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "AVX512_CORE"])
def test_openvino_int8_without_vnni(bundle: Path, crops: Path, tmp_path: Path, instructions: str) -> None:
    """Without VNNI two products of 8 bits are added in 16, where they saturate unless the weights leave a bit free."""
    best, less, feeds = (tmp_path / name for name in ("best.npz", "less.npz", "feeds.npz"))
    here([str(bundle), "openvino", "int8", str(crops), str(best)])
    wanted = kernels_given(crops, best, feeds)
    here([str(bundle), "openvino", "int8", str(feeds), str(less)], ONEDNN_MAX_CPU_ISA=instructions)
    found = np.load(less)
    for name in (name for name in wanted if name.startswith("search")):
        steps = np.abs(found[name] - wanted[name]).max() / (np.ptp(wanted[name]) / INT8_LEVELS)
        sys.stdout.write(f"{instructions} {name}: {steps:.2f} of {INT8_LEVELS} steps of its range, allowed 1\n")
        assert steps <= 1, name


def kernels_given(crops: Path, made: Path, feeds: Path) -> dict[str, np.ndarray]:
    """What run_graphs.py made of crops; written to feeds: the crops and its kernels, for a run on another processor."""
    wanted = dict(np.load(made))
    np.savez(feeds, **dict(np.load(crops)), **{k: v for k, v in wanted.items() if k.startswith("template/")})
    return wanted


def one_step(values: np.ndarray) -> float:
    """The quantization step of an output that was dequantized; 0 for one that was computed in float."""
    levels = np.unique(values.astype(np.float64))
    steps = np.diff(levels)
    is_quantized = levels.size <= INT8_LEVELS < values.size
    return float(steps[steps > 1e-7].min()) if is_quantized else 0.0
