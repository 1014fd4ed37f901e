"""The page in a real browser, against a live HTTP camera that shows real sequences."""

import os
import shutil
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
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver"),
]
SHOTS = os.environ.get("SIAMEDGE_SCREENSHOTS", "")
"""A folder to keep the pictures of the page in; docs/ has its from here."""


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
def browsers() -> Iterator[Callable[..., WebDriver]]:
    opened: list[WebDriver] = []

    def open_browser(width: int = 1280, height: int = 900, is_phone: bool = False) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        if is_phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2.0, "touch": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        opened.append(webdriver.Chrome(options=options, service=Service(DRIVER)))
        return opened[-1]

    yield open_browser
    for browser in opened:
        browser.quit()


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


def wait_for(is_met: Callable[[], bool], limit_s: float = 180.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline_s, "what was waited for did not happen"
        time.sleep(0.05)


def state_of(browser: WebDriver) -> dict[str, Any]:
    return dict(browser.execute_script("return state || {targets: []}"))


def drag(browser: WebDriver, box: np.ndarray | Box) -> None:
    """Drag from a box's left top to its right bottom, in pixels of the frame."""
    place = (
        "const f = fitted(), r = $('picture').getBoundingClientRect(); return [r.left + f.left, r.top + f.top, f.scale]"
    )
    left, top, scale = browser.execute_script(place)
    x, y, w, h = box
    corners = [(left + px * scale, top + py * scale) for px, py in ((x, y), (x + w / 2, y + h / 2), (x + w, y + h))]
    actions = ActionChains(browser, duration=20)
    pointer = actions.w3c_actions.pointer_action
    pointer.move_to_location(*map(round, corners[0]))
    pointer.pointer_down()
    for corner in corners[1:]:
        pointer.move_to_location(*map(round, corner))
    pointer.pointer_up()
    actions.perform()


def click(browser: WebDriver, name: str) -> None:
    browser.find_element(By.ID, name).click()


def shoot(browser: WebDriver, name: str) -> None:
    if SHOTS:
        browser.save_screenshot(str(Path(SHOTS) / name))


def ready(browser: WebDriver, link: str) -> None:
    browser.get(link)
    wait_for(lambda: state_of(browser).get("frame") is not None)


@pytest.mark.parametrize("name", ["VOT15_bag", "OTB_Human7"])
def test_the_box_in_the_page_stays_on_the_target(
    name: str, page_of: Any, browsers: Any, record_property: Callable[[str, object], None]
) -> None:
    camera = SequenceCamera(shared_path(f"sequences/{name}"))
    with running_camera(camera):
        browser = browsers()
        ready(browser, page_of(camera.url))
        drag(browser, camera.truth[0])
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)
        browser.execute_script(
            "const old = show; window.seen = [];"
            "show = (next) => { old(next); seen.push([next.frame, next.targets[0].box]); }"
        )
        camera.is_playing = True
        play_to(browser, camera, int(0.6 * len(camera.images)))
        shoot(browser, f"web-desktop-{name}.png")
        play_to(browser, camera, len(camera.images) - 1)
        seen = browser.execute_script("return seen")
    overlaps = {
        camera.shown[frame]: intersection_over_union(Box(*box), Box(*camera.truth[camera.shown[frame]]))
        for frame, box in seen
        if 0 < camera.shown[frame] < len(camera.images) - 1
    }
    assert len(overlaps) == len(camera.images) - 2, "the page showed each of them"
    share = float(np.mean([overlap > 0.5 for overlap in overlaps.values()]))
    record_property("frames seen in the page, share with IoU above 0.5", f"{len(overlaps)}, {share:.3f}")
    assert share >= 0.8


def play_to(browser: WebDriver, camera: SequenceCamera, last: int) -> None:
    """Let the camera go on each time the page has shown its picture, up to an image."""
    deadline_s = time.monotonic() + 600
    while camera.acknowledged < last:
        assert time.monotonic() < deadline_s, f"the page shows image {camera.acknowledged}, not {last}"
        frame = browser.execute_script("return seen.length ? seen[seen.length - 1][0] : 0")
        camera.acknowledged = camera.shown[frame]


def test_verbs_a_second_page_and_a_phone(page_of: Any, browsers: Any, tmp_path: Path) -> None:
    camera = SequenceCamera(shared_path("sequences/VOT15_bag"))
    with running_camera(camera):
        browser = browsers()
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
        browser.find_elements(By.CSS_SELECTOR, "#targets li button")[1].click()
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

        phone = browsers(390, 844, is_phone=True)
        ready(phone, link)
        wait_for(lambda: phone.find_element(By.ID, "take-control").is_displayed())
        assert "Another page is in control" in phone.find_element(By.ID, "notice-text").text
        click(phone, "pause")
        time.sleep(0.4)
        assert state_of(phone)["mode"] == "running"
        assert phone.execute_script("return document.documentElement.scrollWidth") <= 390
        click(phone, "take-control")
        wait_for(lambda: state_of(phone)["is_controller"])
        wait_for(lambda: not phone.find_element(By.ID, "notice").is_displayed())
        shoot(phone, "web-phone.png")
        click(phone, "record")
        wait_for(lambda: state_of(phone)["recording"] is None)
        wait_for(lambda: browser.find_element(By.ID, "take-control").is_displayed())
        click(phone, "reset")
        wait_for(lambda: state_of(phone)["targets"] == [])
        logs = [entry for entry in browser.get_log("browser") if "423" not in entry["message"]]
        assert logs == []
    assert cv2.VideoCapture(str(next(tmp_path.glob("recordings/*.mkv")))).read()[0]


def test_a_wrong_token_shows_no_page_and_the_link_does(page_of: Any, browsers: Any) -> None:
    with running_camera() as camera:
        link = page_of(camera.url, "0.0.0.0:0")
        place, _, token = link.rpartition("?token=")
        port = place.rstrip("/").rpartition(":")[2]
        browser = browsers()
        browser.get(f"http://127.0.0.1:{port}/?token=wrong")
        assert "open the link with the token that siamedge printed" in browser.page_source
        ready(browser, f"http://127.0.0.1:{port}/?token={token}")
        assert "token" not in browser.current_url
        drag(browser, Box(20, 20, 60, 60))
        wait_for(lambda: len(state_of(browser)["targets"]) == 1)
