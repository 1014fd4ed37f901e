"""`siamedge cameras`: the cameras of this machine, their modes, and what each costs to decode here."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from siamedge.devices.boards.v4l2 import CameraInfo, Mode

REPEATS = 5


def cameras(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List cameras and modes, with the share of one core that decoding takes at each mode's rate."""
    from siamedge.devices.boards.v4l2 import find_cameras

    found = find_cameras()
    costs: dict[tuple[str, int, int], float | None] = {}
    for mode in (mode for camera in found for mode in camera.modes or ()):
        key = mode[:3]
        costs[key] = costs[key] if key in costs else decode_ms(*key)
    if as_json:
        sys.stdout.write(json.dumps([as_record(camera, costs) for camera in found], indent=1) + "\n")
        return
    for camera in found:
        print_camera(camera, costs)
    if not found:
        sys.stdout.write("no camera: nothing under /dev/video* captures video\n")


def decode_ms(pixel_format: str, width: int, height: int) -> float | None:
    """CPU time to turn one frame of a mode into BGR on this machine, median; None for formats that OpenCV converts.

    The frame is a drawn scene, JPEG quality 90: about as many bytes as a camera sends of an outdoor scene.
    """
    import cv2
    import numpy as np

    from siamedge.runtime.sources.cameras import RAW_DECODERS
    from siamedge.runtime.sources.synthetic import SyntheticSource

    decoder = RAW_DECODERS.get(pixel_format)
    if decoder is None:
        return None
    scene = SyntheticSource(size=(max(64, width), max(64, height))).image_at(0)[:height, :width]
    packed = np.ascontiguousarray(scene[:, :, :2])
    raws = {"GREY": packed[:, :, 0], "Y16 ": packed[:, :, 0].astype(np.uint16) << 8}
    is_jpeg = pixel_format in ("MJPG", "JPEG")
    raw = np.asarray(cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]) if is_jpeg else packed
    raw = raws.get(pixel_format, raw)
    times = []
    for _ in range(REPEATS):
        start_s = time.process_time()
        decoder(raw)
        times.append(1000 * (time.process_time() - start_s))
    return sorted(times)[REPEATS // 2]


def as_record(camera: "CameraInfo", costs: dict[tuple[str, int, int], float | None]) -> dict[str, object]:
    """A camera as JSON."""
    modes = [{**mode._asdict(), "decode_ms": costs[mode[:3]]} for mode in camera.modes or ()]
    return {**camera._asdict(), "modes": None if camera.modes is None else modes}


def print_camera(camera: "CameraInfo", costs: dict[tuple[str, int, int], float | None]) -> None:
    """A camera for a person."""
    sys.stdout.write(f"{camera.device}  {camera.name}\n")
    if camera.stable:
        sys.stdout.write(f"  always the same one: {camera.stable}\n")
    if camera.modes is None:
        sys.stdout.write(f"  {camera.problem}\n")
    for mode in camera.modes or ():
        sys.stdout.write(f"  {mode_line(mode, costs[mode[:3]])}\n")


def mode_line(mode: "Mode", cost_ms: float | None) -> str:
    """One mode: format, size, rate, decoding."""
    rate = f"{mode.fps:g} fps" if mode.fps else "rate unknown"
    share = f", {cost_ms * mode.fps / 10:.0f} % of a core" if cost_ms is not None and mode.fps else ""
    cost = "through OpenCV, not measured" if cost_ms is None else f"decode {cost_ms:.2f} ms{share}"
    return f"{mode.pixel_format:5}{mode.width:>5} x {mode.height:<5} {rate:>12}   {cost}"
