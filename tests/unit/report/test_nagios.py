from __future__ import annotations

import io
import re

import pytest

from ops.diagnosis.model import EXIT_CODES, Diagnosis
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.text.language import Language
from tests.unit.made_diagnosis import (
    CRASHED,
    DOWN,
    HEALTHY,
    HOSTILE,
    ONLY_A_WARNING,
    UNEXPLAINED,
    ascii_stream,
    written,
)

# Monitoring Plugins Development Guidelines, section 2.6: 'label'=value[UOM];[warn];[crit];[min];[max]
MEASURE = re.compile(r"'[a-z]+'=\d+(\.\d+)?(s)?;;;0")


def lines(diagnosis: Diagnosis, language: Language = "en") -> list[str]:
    out = io.StringIO()
    render("nagios", DoctorReport(diagnosis), language, out)
    return out.getvalue().splitlines()


def test_the_status_line() -> None:
    assert lines(DOWN)[0] == (
        "GTE-OPS CRITICAL: GUN001 gunicorn is not running (+1 more) | 'duration'=0.412s;;;0 'causes'=2;;;0 "
        "'symptoms'=2;;;0 'checks'=4;;;0 'skipped'=2;;;0 'crashed'=0;;;0"
    )
    assert lines(DOWN, "zh")[0].startswith("GTE-OPS CRITICAL: GUN001 gunicorn 没有运行（另有 1 项） | ")


def test_the_long_output_names_every_cause_and_what_is_unexplained() -> None:
    assert lines(DOWN)[1:] == [
        "GUN001 CRITICAL: There is no gunicorn master process, and 127.0.0.1:8000 refuses connections. "
        "(gte-ops explain GUN001)",
        "GUN008 WARNING: gunicorn does not know these names and ignores them: preload (line 18). "
        "(gte-ops explain GUN008)",
        "unexplained: https://gte-api.example.com answers 403 Forbidden",
    ]


@pytest.mark.parametrize(
    ("diagnosis", "begin"),
    [
        (HEALTHY, "GTE-OPS OK: https://gte-api.example.com answers as it should | "),
        (ONLY_A_WARNING, "GTE-OPS WARNING: GUN013 Workers are never recycled | "),
        (UNEXPLAINED, "GTE-OPS CRITICAL: unexplained: https://gte-api.example.com answers 504"),
        (CRASHED, "GTE-OPS UNKNOWN: https://gte-api.example.com could not be judged | "),
    ],
)
def test_the_word_is_that_of_the_exit_code(diagnosis: Diagnosis, begin: str) -> None:
    assert lines(diagnosis)[0].startswith(begin)
    word = lines(diagnosis)[0].split()[1].rstrip(":")
    assert ["OK", "WARNING", "CRITICAL", "UNKNOWN"][diagnosis.exit_code] == word
    assert EXIT_CODES[diagnosis.status] == diagnosis.exit_code


@pytest.mark.parametrize("language", ["en", "zh"])
def test_data_cannot_forge_performance_data_or_lines(language: Language) -> None:
    shown_lines = lines(HOSTILE, language)
    assert len(shown_lines) == 3  # the status line, one cause, one unexplained symptom
    assert shown_lines[0].count("|") == 1
    assert not [line for line in shown_lines[1:] if "|" in line]
    measures = shown_lines[0].partition(" | ")[2].split()
    assert len(measures) == 6
    assert all(MEASURE.fullmatch(measure) for measure in measures)


def test_an_ascii_stream_does_not_crash_it() -> None:
    out = ascii_stream()
    render("nagios", DoctorReport(DOWN), "zh", out)
    assert written(out).startswith("GTE-OPS CRITICAL: GUN001 gunicorn is not running")
