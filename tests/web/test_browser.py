"""The page in a real browser, against a live HTTP camera that shows real sequences."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_server import Camera, running_camera
from shared import shared_path

pytest.importorskip("selenium", reason="needs selenium")
pytest.importorskip("starlette", reason="needs the extra [web]")
from browsing import browsing, click, drag, needs_browser, placed, ready, state_of, wait_for
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from siamedge.runtime.bundles.picking import TrackerMaker, pick
from siamedge.runtime.geometry import Box, intersection_over_union
from siamedge.runtime.sources.recordings import list_images
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.tracking.presence import PresenceTracker
from siamedge.runtime.watching import watch
from siamedge.runtime.web.engine import Setup
from siamedge.runtime.web.serving import serve

pytestmark = needs_browser
SHOTS = os.environ.get("SIAMEDGE_SCREENSHOTS", "")
"""A folder to keep the pictures of the page in."""


class SequenceCamera(Camera):
    """Shows a data set's first image until it is told to play, then each until the page has shown it, then the last.

    Attributes:
        truth: Boxes, 0-based.
        shown: The number of the image in each part that was sent.
        is_playing: Whether the images go on.
        acknowledged: The page has shown this image; the next one comes after it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.fps = 25.0
        self.images = [path.read_bytes() for path in list_images(folder / "img")]
        self.truth = np.genfromtxt(folder / "groundtruth.txt", delimiter=",") - (1, 1, 0, 0)
        self.shown: list[int] = []
        self.is_playing, self.acknowledged = False, -1

    def parts(self) -> Iterator[bytes]:
        place = 0
        while not self.is_closing.is_set():
            self.is_closing.wait(1 / self.fps)
            goes_on = self.is_playing and self.acknowledged >= place
            place = min(place + goes_on, len(self.images) - 1)
            # A trailing byte after the JPEG's end keeps equal pictures from looking like a frozen camera.
            body = self.images[place] + bytes([len(self.shown) % 256])
            self.shown.append(place)
            yield f"--frame\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"


@pytest.fixture(scope="module")
def nanotrack(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], PresenceTracker]:
    from siamedge.export.pipeline import ExportRequest, export_bundle
    from siamedge.runtime.bundles.bundle import Bundle

    checkpoint = shared_path("models/nanotrack/nanotrackv3.pth")
    out = tmp_path_factory.mktemp("nanotrack") / "v3.siamedge"
    export_bundle(ExportRequest(out, checkpoint=checkpoint, formats=("onnx",), precisions=("fp32",)))
    bundle = Bundle.open(out)
    choice = pick(bundle, backend="onnxruntime", precision="fp32").choice
    make = TrackerMaker(bundle, choice)
    return lambda: watch(make(), bundle, choice)


@pytest.fixture
def page_of(nanotrack: Any, tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Serve the page for a camera in a thread, as `siamedge track --web` does; gives the link."""
    import uvicorn

    servers: list[uvicorn.Server] = []
    plain_init = uvicorn.Server.__init__

    def remembering(self: uvicorn.Server, *args: Any) -> None:
        plain_init(self, *args)
        servers.append(self)

    threads: list[threading.Thread] = []

    def open_page(source: str, address: str = "127.0.0.1:0") -> str:
        options = SourceOptions(read_timeout_s=60)
        setup = Setup((source,), {"onnxruntime fp32": nanotrack}, "asked for", options, tmp_path / "recordings")
        links: list[str] = []
        threads.append(threading.Thread(target=serve, args=(setup, address, links.append), daemon=True))
        threads[-1].start()
        wait_for(lambda: bool(links) and bool(servers) and servers[-1].started)
        return links[0]

    uvicorn.Server.__init__ = remembering  # type: ignore[method-assign]
    yield open_page
    uvicorn.Server.__init__ = plain_init  # type: ignore[method-assign]
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join(20)


def shoot(browser: WebDriver, name: str) -> None:
    if SHOTS:
        browser.save_screenshot(str(Path(SHOTS) / name))


@pytest.mark.parametrize("name", ["VOT15_bag", "OTB_Human7"])
def test_the_box_in_the_page_stays_on_the_target(
    name: str, page_of: Any, record_property: Callable[[str, object], None]
) -> None:
    camera = SequenceCamera(shared_path(f"sequences/{name}"))
    with running_camera(camera), browsing() as browser:
        ready(browser, page_of(camera.url))
        drag(browser, camera.truth[0])
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)
        note_drawn_boxes(browser)
        camera.is_playing = True
        play_to(browser, camera, int(0.6 * len(camera.images)))
        shoot(browser, f"web-desktop-{name}.png")
        play_to(browser, camera, len(camera.images) - 1)
        seen = browser.execute_script("return seen")
        scale, (left, top) = placed(browser)
        area = browser.execute_script("const r = picture.getBoundingClientRect(); return [r.x, r.y]")
    boxes = [
        (frame, Box((x + area[0] - left) / scale, (y + area[1] - top) / scale, w / scale, h / scale))
        for frame, (x, y, w, h) in seen
    ]
    overlaps = {
        camera.shown[frame]: intersection_over_union(box, Box(*camera.truth[camera.shown[frame]]))
        for frame, box in boxes
        if 0 < camera.shown[frame] < len(camera.images) - 1
    }
    assert len(overlaps) == len(camera.images) - 2, "the page showed each of them"
    share = float(np.mean([overlap > 0.5 for overlap in overlaps.values()]))
    record_property("frames seen in the page, share with IoU above 0.5", f"{len(overlaps)}, {share:.3f}")
    assert share >= 0.8


def note_drawn_boxes(browser: WebDriver) -> None:
    """Keep in the page's `seen` the number of each frame and the box that was drawn over it, in CSS pixels."""
    browser.execute_async_script(
        "const done = arguments[0]; window.seen = [];"
        "const stroke = CanvasRenderingContext2D.prototype.strokeRect;"
        "import('/page.js').then(({ page }) => {"
        "  CanvasRenderingContext2D.prototype.strokeRect = function (...box) {"
        "    stroke.apply(this, box); seen.push([page.state.frame, box]); };"
        "  done(); })"
    )


def play_to(browser: WebDriver, camera: SequenceCamera, last: int) -> None:
    """Let the camera go on each time the page has shown its picture, up to an image."""
    deadline_s = time.monotonic() + 600
    while camera.acknowledged < last:
        assert time.monotonic() < deadline_s, f"the page shows image {camera.acknowledged}, not {last}"
        frame = browser.execute_script("return seen.length ? seen[seen.length - 1][0] : 0")
        camera.acknowledged = camera.shown[frame]


def test_verbs_a_second_page_and_a_phone(page_of: Any, tmp_path: Path) -> None:
    camera = SequenceCamera(shared_path("sequences/VOT15_bag"))
    with running_camera(camera), browsing() as browser, browsing(390, 844, is_phone=True) as phone:
        link = page_of(camera.url)
        ready(browser, link)
        target = camera.truth[0]
        drag(browser, target)
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)
        # A click moves the box there without changing its size.
        drag(browser, Box(100, 100, 0, 0))
        wait_for(lambda: abs(state_of(browser)["targets"][0]["box"][0] + target[2] / 2 - 100) < 40)
        drag(browser, target)
        click(browser, "add")
        drag(browser, Box(20, 20, 60, 60))
        wait_for(lambda: len(state_of(browser)["targets"]) == 2)
        browser.find_elements(By.CSS_SELECTOR, "#targets .remove")[1].click()
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)

        click(browser, "pause")
        wait_for(lambda: state_of(browser)["mode"] == "paused")
        held = state_of(browser)["frame"]
        time.sleep(0.5)
        assert state_of(browser)["frame"] == held
        click(browser, "step")
        wait_for(lambda: state_of(browser)["frame"] > held)
        click(browser, "pause")
        wait_for(lambda: state_of(browser)["mode"] == "running")

        click(browser, "record")
        wait_for(lambda: state_of(browser)["recorded"] >= 5)
        camera.is_playing = True

        ready(phone, link)
        wait_for(lambda: phone.find_element(By.ID, "take-control").is_displayed())
        assert "Another page is in control" in phone.find_element(By.ID, "watching").text
        assert not phone.find_element(By.ID, "pause").is_enabled()
        assert phone.execute_script("return document.documentElement.scrollWidth") <= 390
        click(phone, "take-control")
        wait_for(lambda: state_of(phone)["is_controller"])
        wait_for(lambda: not phone.find_element(By.ID, "watching").is_displayed())
        shoot(phone, "web-phone.png")
        click(phone, "record")
        wait_for(lambda: state_of(phone)["recording"] is None)
        wait_for(lambda: browser.find_element(By.ID, "take-control").is_displayed())
        click(phone, "reset")
        wait_for(lambda: state_of(phone)["targets"] == [])
        logs = [entry for entry in browser.get_log("browser") if "423" not in entry["message"]]
        assert logs == []
    assert cv2.VideoCapture(str(next(tmp_path.glob("recordings/*.mkv")))).read()[0]


def test_a_wrong_token_shows_no_page_and_the_link_does(page_of: Any) -> None:
    with running_camera() as camera, browsing() as browser:
        link = page_of(camera.url, "0.0.0.0:0")
        place, _, token = link.rpartition("?token=")
        port = place.rstrip("/").rpartition(":")[2]
        browser.get(f"http://127.0.0.1:{port}/?token=wrong")
        assert "open the link with the token that siamedge printed" in browser.page_source
        ready(browser, f"http://127.0.0.1:{port}/?token={token}")
        assert "token" not in browser.current_url
        drag(browser, Box(20, 20, 60, 60))
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)
