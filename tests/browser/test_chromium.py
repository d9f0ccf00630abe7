"""The browser the page tests look through: what it must notice, and that it goes without a trace."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.browser.chromium import PHONE, Chromium
from tests.lab.waiting import wait_for

FAULTY = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<img src="http://203.0.113.1/pixel.png"><p style="width: 500px">wide</p><script>console.error("broken")</script>"""


def test_it_notices_what_a_page_must_not_do(browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(FAULTY, encoding="utf-8")
    browser.open(page, width=PHONE)
    assert browser.asked_elsewhere() == ["http://203.0.113.1/pixel.png"]
    assert any("broken" in complaint for complaint in browser.complaints())
    assert "P: wide" in browser.too_wide()


def test_it_goes_without_a_trace() -> None:
    with Chromium() as other:
        driver = psutil.Process(other.driver.service.process.pid)
        family = [driver, *driver.children(recursive=True)]
        assert len(family) > 2
        home = Path(other.home)
        assert list(home.iterdir())
    wait_for(lambda: not any(process.is_running() for process in family), "the browser's end", within=30)
    wait_for(lambda: not home.exists(), "its files to be gone", within=30)
