"""`gte-ops doctor --format html` in a browser: one file that needs nothing else, for a phone, a desk and paper."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from selenium.webdriver.common.keys import Keys

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.finding import quote
from ops.diagnosis.model import Diagnosis
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language, verbatim
from tests.browser.chromium import DESKTOP, PHONE, Chromium
from tests.lab.stack import Stack
from tests.unit.made_diagnosis import CRASHED, DOWN, HEALTHY, HOSTILE, UNEXPLAINED, cause

LANGUAGES: tuple[Language, ...] = ("en", "zh")

A4 = 718  # 19 cm between its margins, in CSS pixels

# Every text of the catalogue on one page.
EVERYTHING = replace(
    DOWN, causes=tuple(cause(code, quote("gunicorn.conf.py:18", "x = 1")) for code in catalogue().codes)
)
MARKUP = (
    "<script>document.title='owned';alert(1)</script><img src=http://evil.example/x.png onerror=alert(2)>"
    "<a href=http://evil.example>here</a><svg onload=alert(3)></svg><style>body{display:none}</style>"
    "</pre></li></article></main><iframe src=http://evil.example></iframe>&lt;b&gt;" + "W" * 150
)
PLANTED = replace(
    HOSTILE,
    causes=(
        replace(HOSTILE.causes[0], evidence=(quote(MARKUP, MARKUP),), verify=verbatim(MARKUP)),
        *HOSTILE.causes[1:],
    ),
)
DIAGNOSES = {
    "healthy": HEALTHY,
    "down": DOWN,
    "unexplained": UNEXPLAINED,
    "crashed": CRASHED,
    "hostile": PLANTED,
    "every cause": EVERYTHING,
}

Written = Callable[[Diagnosis, Language], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a diagnosis as the command does, and returns the file."""

    def write(diagnosis: Diagnosis, language: Language) -> Path:
        out = io.StringIO()
        render("html", DoctorReport(diagnosis), language, out)
        file = tmp_path / f"report-{language}.html"
        file.write_text(out.getvalue(), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[Language, Path]:
    """The command's own page about a real stack whose gunicorn was killed, in both languages."""
    folder = tmp_path_factory.mktemp("reports")
    files: dict[Language, Path] = {}
    with Stack() as stack:
        stack.kill_gunicorn()
        for language in LANGUAGES:
            arguments = ("doctor", "--config", str(stack.config_file), "--format", "html", "--lang", language)
            ran = stack.gte_ops(*arguments)
            assert ran.exit_code == 2, ran
            files[language] = folder / f"{language}.html"
            files[language].write_text(ran.stdout, encoding="utf-8")
    return files


def sound(browser: Chromium) -> None:
    """What holds for any report, however it is shown: nothing asked for, nothing complained of, nothing sideways."""
    assert browser.asked_elsewhere() == []
    assert browser.complaints() == []
    browser.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.too_wide() == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_real_fault_s_report(
    browser: Chromium, killed: dict[Language, Path], language: Language, width: int
) -> None:
    browser.open(killed[language], width=width)
    assert "GUN001" in browser.words()
    sound(browser)


@pytest.mark.parametrize("name", DIAGNOSES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_any_report_fits_phone_and_desktop(
    browser: Chromium, written: Written, language: Language, name: str
) -> None:
    file = written(DIAGNOSES[name], language)
    for width in (PHONE, DESKTOP):
        browser.open(file, width=width)
        sound(browser)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_peers_and_logs_say_stays_text(browser: Chromium, written: Written, language: Language) -> None:
    browser.open(written(PLANTED, language))
    assert "<script>document.title='owned'" in browser.words()
    assert "owned" not in browser.driver.title
    assert browser.find("script, img, a, svg, iframe, form, object, embed, link") == []
    assert browser.find("body style") == []
    assert browser.find("body")[0].value_of_css_property("display") == "block"
    assert browser.asked_elsewhere() == []


def test_keys_alone_reach_and_open_what_is_folded(browser: Chromium, killed: dict[Language, Path]) -> None:
    browser.open(killed["en"])
    folded = browser.find("summary")
    assert len(folded) >= 3
    assert browser.tab_order() == folded
    folded[0].send_keys(Keys.ENTER)
    assert browser.find("details")[0].get_attribute("open")
    assert "What it means" in browser.words()
    assert browser.run("return getComputedStyle(arguments[0]).outlineStyle", folded[0]) != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Chromium, written: Written, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 at least."""
    browser.open(written(replace(DOWN, symptoms=UNEXPLAINED.symptoms), "en"))
    browser.emulate_media(prefers_color_scheme=scheme)
    assert browser.faint() == []


@pytest.mark.parametrize("name", ["down", "every cause"])
def test_on_paper_nothing_is_folded_and_nothing_is_cut(
    browser: Chromium, written: Written, name: str
) -> None:
    browser.open(written(DIAGNOSES[name], "en"))
    browser.emulate_media("print")
    browser.resize(A4)
    assert browser.too_wide() == []
    pieces = browser.run(_TEXTS)
    paper = _squeezed(_printed(browser))
    assert len(pieces) > 30
    assert [piece for piece in pieces if _squeezed(piece) not in paper] == []
    assert browser.asked_elsewhere() == []


def test_on_paper_in_chinese(browser: Chromium, killed: dict[Language, Path]) -> None:
    browser.open(killed["zh"])
    browser.emulate_media("print")
    assert browser.run(_ALL_VISIBLE)
    assert "GUN001" in _printed(browser)


def _printed(browser: Chromium) -> str:
    """The text on the pages of the PDF, as a reader of paper has it."""
    ran = subprocess.run(
        ["pdftotext", "-raw", "-", "-"], input=browser.pdf(), capture_output=True, check=True
    )
    return ran.stdout.decode()


def _squeezed(text: Any) -> str:
    """Lines are broken where the paper ends, at a hyphen too. Chinese has no font on every machine: a prediction's text
    may leave nothing to read in the file."""
    return "".join(character for character in str(text) if character.isascii() and not character.isspace())


_ALL_VISIBLE = """
return [...document.querySelectorAll('details td, details p')].every(e => e.checkVisibility() && e.offsetHeight);
"""

# Every piece of text in the document, whether it is shown or not.
_TEXTS = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const texts = [];
while (walker.nextNode()) texts.push(walker.currentNode.data.trim());
return texts.filter(text => text);
"""
