"""The page: everything the report says, nothing from elsewhere, and nobody's markup but its own."""

from __future__ import annotations

# ?None
import io
import re
from html.parser import HTMLParser

import pytest

from ops.diagnosis.model import Diagnosis
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language
from tests.unit.made_diagnosis import (
    DOWN,
    HEALTHY,
    HOSTILE,
    UNEXPLAINED,
    ascii_stream,
    written,
)


def page(diagnosis: Diagnosis, language: Language = "en") -> str:
    out = io.StringIO()
    render("html", DoctorReport(diagnosis), language, out)
    return out.getvalue()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def test_cause_proof_verify_and_fix_stand_on_it() -> None:
    words = " ".join(read(page(DOWN)).words)
    for expected in (
        "GUN001",
        "connection refused",
        "curl -v http://127.0.0.1:8000/health",
        "systemctl start gte-api",
    ):
        assert expected in words


def test_it_loads_nothing() -> None:
    html = page(DOWN)
    assert not re.search(r"(?:src|href|action)\s*=|@import|url\(", html)
    assert "script" not in read(html).tags


def test_it_fits_a_phone() -> None:
    assert ("content", "width=device-width, initial-scale=1") in read(page(HEALTHY)).attributes


@pytest.mark.parametrize("language", ["en", "zh"])
def test_hostile_words_stay_words(language: Language) -> None:
    reader = read(page(HOSTILE, language))
    assert "script" not in reader.tags
    assert "hunter2" not in page(HOSTILE, language)
    assert "\x1b" not in page(HOSTILE, language)


def test_an_unexplained_symptom_stands_with_what_to_try() -> None:
    assert "Unexplained" in page(UNEXPLAINED)
    assert "尚无解释" in page(UNEXPLAINED, "zh")


def test_the_language_is_said() -> None:
    assert ("lang", "zh-CN") in read(page(HEALTHY, "zh")).attributes


def test_a_stream_that_knows_only_ascii_gets_references() -> None:
    stream = ascii_stream()
    render("html", DoctorReport(DOWN), "zh", stream)
    assert "没有运行" in "".join(read(written(stream)).words)
