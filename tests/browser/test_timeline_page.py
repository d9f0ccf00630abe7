"""`gte-ops timeline --format html` in a browser: the picture of a scripted incident on a phone and at a desk."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ops.report import render
from ops.report.timeline import TimelineReport
from ops.text.language import Language
from tests.browser.chromium import DESKTOP, Chromium
from tests.unit.made_incident import incident_timeline

PHONE = 390
# Smaller letters are no letters on a phone, CSS pixels.
LEAST_LETTER = 9.0
STORY: dict[Language, list[str]] = {
    "en": [
        "deployment: release 2.4",
        "app.py",
        "FAILING",
        "the watchdog restarted gunicorn",
        "deployment: back to 2.3",
    ],
    "zh": ["部署：release 2.4", "app.py", "开始失败", "watchdog 重启 gunicorn", "部署：back to 2.3"],
}


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Language, Path]]:
    """The incident's page in both languages."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    timeline = incident_timeline(tmp_path)
    files: dict[Language, Path] = {}
    for language in STORY:
        out = io.StringIO()
        render("html", TimelineReport(timeline), language, out)
        files[language] = tmp_path / f"{language}.html"
        files[language].write_text(out.getvalue(), encoding="utf-8")
    yield files
    monkeypatch.undo()
    time.tzset()


def boxes(browser: Chromium) -> list[dict[str, Any]]:
    """Every word of the picture that is shown, with its place."""
    return list(browser.run(_BOXES))


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_incident_reads_right_and_its_picture_fits(
    browser: Chromium, pages: dict[Language, Path], language: Language, width: int
) -> None:
    browser.open(pages[language], width=width)
    words = browser.words()
    order = [words.index(part) for part in STORY[language]]
    assert order == sorted(order)
    assert browser.asked_elsewhere() == []
    assert browser.complaints() == []
    assert browser.too_wide() == []
    labels = boxes(browser)
    letters = [label["words"] for label in labels]
    assert {"D", "C", "W", "S", "X", "02:30", "03:00", "03:30"} <= set(letters)
    assert letters.count("D") == 2
    for one, other in combinations(labels, 2):
        assert not _overlap(one, other), (one, other)
    assert min(label["height"] for label in labels) >= LEAST_LETTER, labels
    picture = browser.run("const b = shown().getBoundingClientRect(); return [b.left, b.right];" + _SHOWN)
    assert all(picture[0] - 1 <= label["left"] and label["right"] <= picture[1] + 1 for label in labels)


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(
        one["left"] < other["right"] - 0.5
        and other["left"] < one["right"] - 0.5
        and one["top"] < other["bottom"] - 0.5
        and other["top"] < one["bottom"] - 0.5
    )


_SHOWN = """
function shown() { return [...document.querySelectorAll('figure svg')].find(e => e.checkVisibility()); }
"""
# A letter's own height: its font size by the picture's scale.
_BOXES = (
    """
return [...shown().querySelectorAll('text')].map(e => {
  const b = e.getBoundingClientRect();
  const scale = e.getScreenCTM().a;
  return {words: e.textContent, left: b.left, right: b.right, top: b.top, bottom: b.bottom,
          height: parseFloat(getComputedStyle(e).fontSize) * scale};
});
"""
    + _SHOWN
)
