"""Debian's Chromium without a window, driven by Selenium: what a page shows, asks for, complains of and prints.

with Chromium() as browser:
    browser.open(url)
    assert (browser.asked_elsewhere(), browser.complaints()) == ([], [])
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

# Widths a page must fit, in CSS pixels: a small phone, a laptop.
PHONE, DESKTOP = 360, 1280

# Nothing but loopback is reached: whatever else is asked for goes to a proxy that is not there.
# https://chromium.googlesource.com/chromium/src/+/HEAD/net/docs/proxy.md: loopback bypasses a proxy by itself.
_FLAGS = (
    "--headless=new",
    "--proxy-server=127.0.0.1:9",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # a container's /dev/shm is too small
    "--disable-gpu",
    "--hide-scrollbars",
    # A machine without a display has no mouse; a desk has one (blink's HoverType and PointerType: hover, fine).
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    "--force-color-profile=srgb",
)


class Chromium:
    """One browser with one page, up between ``with`` and its end; its files are in a directory of its own."""

    def __enter__(self) -> Self:
        """Starts it. Raises FileNotFoundError where chromium or chromedriver is not installed."""
        self._closing = contextlib.ExitStack()
        # A browser that is just ending may still write.
        home = self.home = self._closing.enter_context(
            tempfile.TemporaryDirectory(prefix="gte-browser-", ignore_cleanup_errors=True)
        )
        options = webdriver.ChromeOptions()
        options.binary_location = _program("chromium")
        for flag in (*_FLAGS, f"--user-data-dir={home}/profile"):
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # root has none
        options.accept_insecure_certs = True  # the lab's own authority
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = Service(_program("chromedriver"), env={**os.environ, "HOME": home, "TMPDIR": home})
        try:
            self.driver = webdriver.Chrome(options=options, service=service)
            self._closing.callback(self.driver.quit)
        except BaseException:
            self._closing.close()
            raise
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the browser and its driver, and removes what they wrote."""
        self._closing.close()

    # --- the page ---------------------------------------------------------------------------------------------------

    def open(
        self, place: str | Path, *, width: int = DESKTOP, height: int = 800, phone: bool | None = None
    ) -> None:
        """Opens a URL or a file, in a window of that size in CSS pixels; what was asked for before is forgotten.

        ``phone``: a touch screen that heeds the page's viewport; by default where the width is a phone's.
        """
        self.driver.get("about:blank")
        self.resize(width, height, phone=phone)
        self.emulate_media()
        self._requests()
        self.complaints()
        self.url = place.resolve().as_uri() if isinstance(place, Path) else place
        self.driver.get(self.url)

    def resize(self, width: int, height: int = 800, *, phone: bool | None = None, scale: float = 1.0) -> None:
        """Changes the window's size; ``scale`` is device pixels per CSS pixel."""
        mobile = width <= PHONE * 1.5 if phone is None else phone
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def emulate_media(self, kind: str = "", **features: str) -> None:
        """Shows the page as for ``print``, or with media features: ``prefers_color_scheme="dark"``."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", media=kind, features=wanted)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value a JavaScript function body returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> list[WebElement]:
        """The elements of a CSS selector, in the document's order."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def words(self) -> str:
        """The text a reader sees."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def press(self, *keys: str) -> None:
        """Types into whatever has the focus: text, or selenium's ``Keys``."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_order(self, most: int = 200) -> list[WebElement]:
        """The elements that Tab comes to, from the page's top until the focus leaves it."""
        self.run("document.activeElement.blur(); window.getSelection().removeAllRanges()")
        reached: list[WebElement] = []
        for _ in range(most):
            self.press(Keys.TAB)
            focused = self.driver.switch_to.active_element
            if focused.tag_name in ("body", "html") or focused in reached:
                return reached
            reached.append(focused)
        raise AssertionError(f"after {most} times Tab the focus is still on new elements")

    # --- what is promised of every page -----------------------------------------------------------------------------

    def asked_elsewhere(self) -> list[str]:
        """URLs requested since ``open`` from anywhere but the page's own origin; a file's origin is the file."""
        own = _origin(self.url)
        return [url for url in self._requests() if _origin(url) != own and not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """What the console holds since ``open`` or the last call: errors and warnings."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def too_wide(self) -> list[str]:
        """The elements that make the page scroll sideways, each by its tag and text; empty where it does not."""
        return self.run(_TOO_WIDE)

    def faint(self) -> list[str]:
        """The elements whose text has a contrast to its ground of less than 4.5 to 1 (WCAG 2.2, 1.4.3)."""
        return self.run(_FAINT)

    # --- pictures and paper -----------------------------------------------------------------------------------------

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        taken = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])

    def pdf(self) -> bytes:
        """The page printed on A4."""
        printed = self.devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(printed["data"])

    def devtools(self, command: str, **parameters: Any) -> Mapping[str, Any]:
        """A command of the DevTools protocol, and its answer."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def _requests(self) -> list[str]:
        """The URLs asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            parameters.get("request", parameters)["url"]
            for method, parameters in ((message["method"], message["params"]) for message in messages)
            if method in ("Network.requestWillBeSent", "Network.webSocketCreated")
        ]


_TOO_WIDE = """
const room = document.documentElement.clientWidth;
if (Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) <= room) return [];
const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > room + 0.5);
return ['the page: ' + document.documentElement.scrollWidth + ' px in ' + room,
        ...wide.map(e => e.tagName + ': ' + e.textContent.trim().slice(0, 80))];
"""


# WCAG's relative luminance and contrast ratio (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
_FAINT = """
const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = e => {
    for (; e; e = e.parentElement) {
        const colour = rgb(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
};
return [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()))
    .filter(e => {
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    })
    .map(e => e.tagName + ': ' + e.textContent.trim().slice(0, 60));
"""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.path if parts.scheme == "file" else parts.netloc


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is not installed (scripts/environment names its Debian package)")
    return found
