"""The service's page at ``/``, opened, and what a person does on it."""

from __future__ import annotations

from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.browser.chromium import DESKTOP, Chromium
from tests.system.conftest import Gunicorn


class Page:
    """The page, opened; what a person does on it."""

    def __init__(
        self, browser: Chromium, service: Gunicorn, *, width: int = DESKTOP, language: str = "en"
    ) -> None:
        self.browser = browser
        browser.open(f"http://127.0.0.1:{service.port}/", width=width)
        self.until(
            "return document.body.dataset.started === 'yes' && document.getElementById('state').textContent !== ''"
        )
        if browser.run("return document.documentElement.lang")[:2] != language:
            self.element("#language").click()

    def element(self, selector: str) -> WebElement:
        (found,) = self.browser.find(selector)
        return found

    def until(self, script: str) -> None:
        WebDriverWait(self.browser.driver, 30).until(lambda _driver: self.browser.run(script))

    def choose(self, task: str) -> None:
        Select(self.element("#task")).select_by_value(task)

    def write(self, selector: str, text: str) -> None:
        field = self.element(selector)
        field.clear()
        field.send_keys(text)

    def answered(self) -> str:
        """The answer's words, once it is there."""
        self.until("return !document.getElementById('send').disabled")
        return self.element("#answer").get_attribute("innerText") or ""

    def send(self) -> str:
        self.element("#send").click()
        return self.answered()

    def is_sound(self, *, complaints: bool = False) -> None:
        """Nothing from elsewhere, nothing sideways, nothing faint, and no complaint of the browser's unless one is
        meant (it reports every refused request)."""
        assert self.browser.asked_elsewhere() == []
        assert complaints or self.browser.complaints() == []
        assert self.browser.too_wide() == []
        assert self.browser.faint() == []
