"""What a person meets on the page, in a real browser: pointers, keys, words, and a device that comes and goes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import httpx
import pytest

pytest.importorskip("selenium", reason="needs selenium")
pytest.importorskip("starlette", reason="needs the extra [web]")
import uvicorn
from browsing import browsing, click, drag_over, needs_browser, placed, ready, state_of, text_of, wait_for
from camera_server import running_camera
from selenium.webdriver.chrome.webdriver import WebDriver as Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from siamedge.export.evaluation.baselines import IdentityTracker
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine, Setup
from siamedge.runtime.web.server import make_app

pytestmark = needs_browser
SCENE = "synthetic:?frames=100000&size=640x480&fps=15"
MARKUP = "<b id=planted>.mp4"


@contextmanager
def serving(folder: Path, *sources: str, token: str = "", port: int = 0) -> Iterator[str]:
    """Serve the page for some sources on loopback; gives its address."""
    setup = Setup(sources, {"still": IdentityTracker}, "the only one", SourceOptions(), folder / "recordings")
    engine = Engine(setup)
    engine.start()
    app = make_app(engine, Access("127.0.0.1", token))
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with browsing() as opened:
        yield opened


@pytest.fixture
def page(browser: Chrome, tmp_path: Path) -> Iterator[Chrome]:
    """The page of a drawn scene that stands still."""
    with serving(tmp_path, SCENE, MARKUP) as link:
        ready(browser, link)
        click(browser, "pause")
        wait_for(lambda: text_of(browser, "pause") == "Resume")
        yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def boxes(page: Chrome) -> list[list[float]]:
    return [target["box"] for target in state_of(page)["targets"]]


def in_frame(page: Chrome, place: tuple[float, float]) -> tuple[float, float]:
    scale, (left, top) = placed(page)
    return (place[0] - left) / scale, (place[1] - top) / scale


def touch(page: Chrome, kind: str, *fingers: tuple[int, int]) -> None:
    """What a touch screen sends: kind is "Start", "Move", "End" or "Cancel", with the fingers that are down."""
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})


def test_a_box_is_that_of_the_pixels_it_was_drawn_around(page: Chrome) -> None:
    for ratio, (width, height) in product((1, 1.5, 2, 3), ((1401, 903), (401, 844))):
        metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": False}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scale, (left, top) = placed(page)
        start, end = (round(left + 50), round(top + 40)), (round(left + 190), round(top + 130))
        drag_over(page, [start, end])
        x, y = in_frame(page, start)
        expected = [x, y, (end[0] - start[0]) / scale, (end[1] - start[1]) / scale]
        wait_for(lambda box=expected: boxes(page) == [pytest.approx(box, abs=0.01)], 20)  # type: ignore[misc]


def test_what_is_drawn_keeps_its_shape_when_its_place_changes_while_nothing_moves(page: Chrome) -> None:
    sizes = "const r = picture.getBoundingClientRect(); return [picture.width / r.width, picture.height / r.height]"
    page.execute_script("document.querySelector('header').style.paddingBottom = '150px'")
    wait_for(lambda: page.execute_script(sizes) == pytest.approx([1, 1], abs=0.01))


def test_a_box_ends_at_the_edge_of_the_picture_and_a_thin_one_is_none(page: Chrome) -> None:
    scale, (left, top) = placed(page)
    start = (round(left + 0.8 * 640 * scale), round(top + 0.7 * 480 * scale))
    drag_over(page, [start, (1270, 740)])
    wait_for(lambda: boxes(page))
    x, y = in_frame(page, start)
    assert boxes(page) == [pytest.approx([x, y, 640 - x, 480 - y], abs=0.01)]
    drag_over(page, [(400, 300), (500, 302)])
    assert (
        text_of(page, "notice-text") == "This box is too thin. Drag from one corner of the target to the opposite one."
    )
    click(page, "notice-close")
    assert not page.find_element(By.ID, "notice").is_displayed()


@pytest.mark.parametrize("end", ["cancelled", "second finger", "Escape"])
def test_a_drag_that_is_broken_off_leaves_nothing(page: Chrome, end: str) -> None:
    touch(page, "Start", (300, 300))
    touch(page, "Move", (400, 400))
    assert is_made(page)
    if end == "cancelled":
        touch(page, "Cancel")
    elif end == "second finger":
        touch(page, "Start", (400, 400), (600, 500))
        touch(page, "Move", (410, 410), (610, 510))
    else:
        page.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    assert not is_made(page)
    if end != "cancelled":
        touch(page, "End")
    touch(page, "Start", (300, 300))
    touch(page, "Move", (450, 420))
    touch(page, "End")
    wait_for(lambda: boxes(page))
    scale, _ = placed(page)
    assert boxes(page) == [pytest.approx([*in_frame(page, (300, 300)), 150 / scale, 120 / scale], abs=0.01)]


def is_made(page: Chrome) -> bool:
    """Whether the page draws a box that is being made."""
    script = "const done = arguments[0]; import('/picking.js').then(({ madeBox }) => done(madeBox() !== null))"
    return bool(page.execute_async_script(script))


def test_the_keyboard_makes_moves_and_chooses_targets(page: Chrome) -> None:
    picture = page.find_element(By.ID, "picture")
    picture.send_keys(Keys.ENTER, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    wait_for(lambda: boxes(page) == [[292, 192, 96, 96]])
    page.find_element(By.ID, "add").send_keys(Keys.ENTER)
    assert text_of(page, "add") == "Cancel"
    picture.send_keys(Keys.ENTER, Keys.ARROW_UP)
    picture.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    picture.send_keys(Keys.ENTER)
    wait_for(lambda: boxes(page) == [[292, 192, 96, 96], [267, 182, 106, 96]])
    page.find_elements(By.CSS_SELECTOR, "#targets .choose")[0].send_keys(Keys.ENTER)
    picture.send_keys(Keys.ENTER, Keys.ARROW_DOWN, Keys.ENTER)
    wait_for(lambda: boxes(page) == [[292, 202, 96, 96], [267, 182, 106, 96]])
    removing = page.find_elements(By.CSS_SELECTOR, "#targets .remove")
    assert [button.accessible_name for button in removing] == ["Remove target 1", "Remove target 2"]
    removing[1].send_keys(Keys.ENTER)
    wait_for(lambda: len(boxes(page)) == 1)


def test_a_key_that_is_held_acts_once_with_or_without_caps_lock(page: Chrome) -> None:
    page.execute_script(
        "window.asked = []; const ask = fetch;"
        "window.fetch = (path, ...rest) => { asked.push(path); return ask(path, ...rest); };"
        "for (const repeat of [false, true, true])"
        "  document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'S', bubbles: true, repeat }))"
    )
    assert page.execute_script("return asked") == ["/api/step"]


def test_names_are_text_and_a_refused_choice_is_taken_back(page: Chrome) -> None:
    assert page.find_elements(By.ID, "planted") == []
    source = page.find_element(By.ID, "source")
    assert [option.text for option in source.find_elements(By.TAG_NAME, "option")] == [SCENE, MARKUP]
    page.execute_script(
        "source.append(new Option('elsewhere')); source.value = 'elsewhere'; source.onchange({ target: source })"
    )
    wait_for(lambda: "is not one of the sources" in text_of(page, "notice-text"))
    wait_for(lambda: source.get_attribute("value") == SCENE)


def test_another_client_that_takes_control_is_told_while_nothing_moves(page: Chrome) -> None:
    assert httpx.post(page.current_url + "api/control", headers={"X-Client": "other"}).is_success
    wait_for(lambda: "Another page is in control" in text_of(page, "watching"))
    assert not page.find_element(By.ID, "pause").is_enabled()
    click(page, "take-control")
    wait_for(lambda: page.find_element(By.ID, "pause").is_enabled())


def test_a_hidden_page_asks_for_no_pictures(page: Chrome) -> None:
    page.execute_script("window.isHidden = true; Object.defineProperty(document, 'hidden', { get: () => isHidden })")
    click(page, "pause")
    first = state_of(page)["frame"]
    wait_for(lambda: httpx.get(page.current_url + "api/state").json()["frame"] > first + 8)
    held = state_of(page)["frame"]
    assert held <= first + 2, "what was on its way"
    page.execute_script("isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(lambda: state_of(page)["frame"] > held)


def test_a_device_that_falls_silent_is_told(page: Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siamedge.runtime.web.streaming.QUIET_S", 7.0)
    wait_for(lambda: text_of(page, "source-pill") == "no answer")
    assert text_of(page, "badge") == "no answer"
    assert text_of(page, "notice-text") == "The device has not answered for some seconds. The picture may be old."
    wait_for(lambda: text_of(page, "source-pill") == "paused")


def test_a_device_that_goes_and_comes_back_is_told_and_acts_on_no_old_target(browser: Chrome, tmp_path: Path) -> None:
    with serving(tmp_path, SCENE) as link:
        ready(browser, link)
        drag_over(browser, [(300, 300), (400, 400)])
        wait_for(lambda: boxes(browser))
    wait_for(lambda: text_of(browser, "source-pill") == "no connection")
    assert text_of(browser, "notice-text") == "No connection to the device. This page goes on trying."
    assert text_of(browser, "fps") == "–"
    for button in browser.find_elements(By.CSS_SELECTOR, ".verbs button, .remove"):
        assert not button.is_enabled()
    port = int(link.rstrip("/").rpartition(":")[2])
    with serving(tmp_path, SCENE, port=port):
        wait_for(lambda: text_of(browser, "source-pill") == "playing")
        assert boxes(browser) == []
        drag_over(browser, [(300, 300), (400, 400)])
        wait_for(lambda: boxes(browser))
    with serving(tmp_path, SCENE, port=port, token="another"):
        wait_for(lambda: text_of(browser, "source-pill") == "not admitted")
        assert text_of(browser, "notice-text") == "siamedge was started again: open the link that it printed."


def test_a_camera_without_a_picture_and_a_source_that_failed_have_words(browser: Chrome, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.mp4")
    with running_camera() as camera:
        camera.is_stalled = True
        with serving(tmp_path, camera.url, gone) as link:
            browser.get(link)
            wait_for(lambda: text_of(browser, "badge") == "no new pictures")
            browser.execute_script("source.value = arguments[0]; source.onchange({ target: source })", gone)
            wait_for(lambda: text_of(browser, "badge") == "source failed")
            assert text_of(browser, "notice-text") == f"No such file or folder: {gone}. Reset tries again."


def test_a_link_on_another_site_opens_the_page_and_two_servers_of_a_host_do_not_mind(
    browser: Chrome, tmp_path: Path
) -> None:
    with (
        serving(tmp_path, SCENE, token="first") as first,
        serving(tmp_path, SCENE, token="second") as second,
        another_site(f"<a id=link href='{first}?token=first'>open</a>") as site,
    ):
        browser.get(site)
        click(browser, "link")
        wait_for(lambda: text_of(browser, "source-pill") == "playing")
        assert browser.current_url == first
        ready(browser, second + "?token=second")
        ready(browser, first)


@contextmanager
def another_site(content: str) -> Iterator[str]:
    """A page whose site is another one than 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
