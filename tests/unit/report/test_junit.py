"""JUnit: every check a case; what is not in order fails it, what was not seen skips it."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest

from ops.diagnosis.model import Diagnosis
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language
from tests.unit.made_diagnosis import (
    CRASHED,
    DOWN,
    HEALTHY,
    HOSTILE,
    UNEXPLAINED,
    ascii_stream,
    written,
)


def suite(diagnosis: Diagnosis, language: Language = "en") -> ElementTree.Element:
    out = io.StringIO()
    render("junit", DoctorReport(diagnosis), language, out)
    root = ElementTree.fromstring(out.getvalue())  # noqa: S314  our own document
    assert root.tag == "testsuites"
    element = root.find("testsuite")
    assert element is not None
    return element


def case(element: ElementTree.Element, name: str) -> ElementTree.Element:
    return next(item for item in element.iter("testcase") if item.get("name") == name)


def test_a_healthy_host_fails_nothing() -> None:
    element = suite(HEALTHY)
    assert [element.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["3", "0", "0", "2"]
    assert element.get("time") == "0.312"
    assert case(element, "tls.key").find("skipped").get("message") == "permission denied (run as root to see)"


def test_a_failed_check_and_a_warning_are_failures() -> None:
    element = suite(DOWN)
    assert case(element, "gunicorn.process").find("failure").get("type") == "fail"
    assert case(element, "gunicorn.config").find("failure").get("type") == "warn"
    assert case(element, "gunicorn.process").get("classname") == "gte-ops.gunicorn"


def test_an_unexplained_symptom_fails_with_the_next_command() -> None:
    failure = case(suite(UNEXPLAINED), "http.504").find("failure")
    assert failure.get("type") == "unexplained"
    assert failure.text


def test_a_crashed_check_is_an_error() -> None:
    error = case(suite(CRASHED), "dns.name").find("error")
    assert (error.get("type"), error.get("message")) == ("unknown", "KeyError: 'x'")


def test_the_report_in_words_goes_with_it() -> None:
    assert "GUN001" in (suite(DOWN).findtext("system-out") or "")
    assert "gunicorn 没有运行" in (suite(DOWN, "zh").findtext("system-out") or "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_hostile_words_stay_words(language: Language) -> None:
    element = suite(HOSTILE, language)
    assert not list(element.iter("script"))
    assert "hunter2" not in "".join(element.itertext())


def test_a_terminal_that_knows_only_ascii_gets_references() -> None:
    stream = ascii_stream()
    render("junit", DoctorReport(DOWN), "zh", stream)
    root = ElementTree.fromstring(written(stream))  # noqa: S314  our own document
    assert "gunicorn" in (root.findtext("testsuite/system-out") or "")
