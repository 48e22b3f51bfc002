"""A headless Chromium, for the tests of the page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 240.0  # of a machine that is busy with other tests


def wait_for(holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of a function."""
    until = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return value


class Page:
    """The page in a browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str, width: int = 1280, *, dark: bool = False) -> None:
        """Open an address without what an earlier page has stored."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(address)

    def find(self, selector: str) -> Any:
        """Return the first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """Return all elements of a CSS selector."""
        return list(self.driver.find_elements("css selector", selector))

    def wait(self, selector: str, text: str = "", seconds: float = SECONDS) -> Any:
        """Return the first visible element of a selector that holds a text, once there is one."""
        shown = "(e) => e.checkVisibility() && e.textContent.includes(text)"
        script = f"const text = arguments[1]; return [...document.querySelectorAll(arguments[0])].find({shown})"
        try:
            return wait_for(lambda: self.run(script, selector, text), seconds)
        except AssertionError:
            alerts = [alert.text for alert in self.all("[role=alert]") if alert.is_displayed()]
            raise AssertionError(f"{selector} with {text!r} did not appear; the page shows {alerts}") from None

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file, as in the dialog of a file input."""
        self.find(selector).send_keys(str(path))

    def drop(self, selector: str, path: Path) -> None:
        """Drop a file of text on an element."""
        script = """
            const files = new DataTransfer();
            files.items.add(new File([arguments[1]], arguments[2]));
            for (const kind of ["dragenter", "dragover", "drop"]) {
              const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: files });
              document.querySelector(arguments[0]).dispatchEvent(event);
            }"""
        self.run(script, selector, path.read_text(encoding="utf-8"), path.name)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def focused(self) -> str:
        """Return the id of the focused element."""
        return str(self.run("return document.activeElement.id || document.activeElement.className.baseVal || ''"))

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript."""
        return self.driver.execute_script(script, *values)

    def complaints(self) -> list[str]:
        """Return what the browser has logged since the last call, refused requests aside: the page shows these."""
        entries = [entry["message"] for entry in self.driver.get_log("browser")]
        return [entry for entry in entries if "Failed to load resource" not in entry]


@contextmanager
def start_browser(downloads: Path) -> Iterator[Page]:
    """Start Chromium; skip the tests where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    try:
        yield Page(driver)
    finally:
        driver.quit()
