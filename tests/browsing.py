"""Chromium on the page of `siamedge track --web`."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_browser = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver"),
]
Place = tuple[float, float]


@contextmanager
def browsing(width: int = 1280, height: int = 900, *, is_phone: bool = False) -> Iterator[webdriver.Chrome]:
    """An open browser with a window of some size in CSS pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    if is_phone:
        metrics = {"width": width, "height": height, "pixelRatio": 2.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def wait_for(is_met: Callable[[], object], limit_s: float = 180.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline_s, "what was waited for did not happen"
        time.sleep(0.05)


def state_of(browser: WebDriver) -> dict[str, Any]:
    """What the device told the page last."""
    script = "const done = arguments[0]; import('/page.js').then(({ page }) => done(page.state), () => done(null))"
    return dict(browser.execute_async_script(script) or {"targets": []})


def ready(browser: WebDriver, link: str) -> None:
    """Open the page and wait for its first picture."""
    browser.get(link)
    wait_for(lambda: state_of(browser).get("frame") is not None)


def click(browser: WebDriver, name: str) -> None:
    browser.find_element(By.ID, name).click()


def text_of(browser: WebDriver, name: str) -> str:
    """The text of an element; empty while it is hidden."""
    return str(browser.find_element(By.ID, name).text)


def placed(browser: WebDriver) -> tuple[float, Place]:
    """CSS pixels a pixel of the frame, and where the frame's left top is in the window."""
    script = (
        "const r = document.getElementById('picture').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]"
    )
    left, top, width, height = browser.execute_script(script)
    columns, rows = state_of(browser)["size"]
    scale = min(width / columns, height / rows)
    return scale, (left + (width - scale * columns) / 2, top + (height - scale * rows) / 2)


def drag_over(browser: WebDriver, places: Sequence[tuple[int, int]], *, is_let_go: bool = True) -> None:
    """Press the mouse at the first of some places in the window, move it to the others, and let go."""
    actions = ActionChains(browser, duration=20)
    pointer = actions.w3c_actions.pointer_action
    pointer.move_to_location(*places[0])
    pointer.pointer_down()
    for place in places[1:]:
        pointer.move_to_location(*place)
    if is_let_go:
        pointer.pointer_up()
    actions.perform()


def drag(browser: WebDriver, box: Sequence[float]) -> None:
    """Drag from a box's left top to its right bottom, in pixels of the frame."""
    scale, (left, top) = placed(browser)
    x, y, w, h = box
    corners = ((x, y), (x + w / 2, y + h / 2), (x + w, y + h))
    drag_over(browser, [(round(left + scale * px), round(top + scale * py)) for px, py in corners])
