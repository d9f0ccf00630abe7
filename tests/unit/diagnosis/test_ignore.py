"""The ignore list: a known cause is set aside through its last day, said so, and counts again from the day after."""

from __future__ import annotations

import io
from datetime import date, timedelta

import pytest

import ops.doctor
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Diagnosis
from ops.doctor import examine
from ops.errors import SettingsError
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.settings import DoctorSettings, Ignore, Settings, parse_settings
from tests.unit.made_snapshot import without_gunicorn

TODAY = date(2026, 11, 22)


def diagnosed(until: date, code: str = "GUN001") -> Diagnosis:
    return diagnose(without_gunicorn(), CHECKS, (Ignore(code=code, reason="being moved", until=until),))


@pytest.mark.parametrize("until", [TODAY, TODAY + timedelta(days=300)])
def test_it_is_set_aside_through_its_last_day(until: date) -> None:
    diagnosis = diagnosed(until)
    assert "GUN001" not in [cause.code for cause in diagnosis.causes]
    assert [(item.cause.code, item.reason, item.until) for item in diagnosis.ignored] == [
        ("GUN001", "being moved", until.isoformat())
    ]
    assert diagnosis.status == "ok"


def test_its_symptoms_stay_explained() -> None:
    diagnosis = diagnosed(TODAY)
    assert diagnosis.symptoms
    assert all(symptom.explained_by for symptom in diagnosis.symptoms)


def test_afterwards_it_counts_again_and_says_so() -> None:
    diagnosis = diagnosed(TODAY - timedelta(days=1))
    assert diagnosis.causes[0].code == "GUN001"
    assert diagnosis.causes[0].evidence[-1].detail.en == "was ignored until 2026-11-21: being moved"
    assert not diagnosis.ignored
    assert diagnosis.status == "fail"


def test_other_causes_count() -> None:
    assert diagnosed(TODAY, "GUN013").causes[0].code == "GUN001"


@pytest.mark.parametrize("form", ["text", "json", "html"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_says_what_was_set_aside_and_why(form: str, language: str) -> None:
    out = io.StringIO()
    render(form, DoctorReport(diagnosed(TODAY)), language, out)  # type: ignore[arg-type]
    for words in ("GUN001", "being moved", "2026-11-22"):
        assert words in out.getvalue()


def test_the_configuration_names_code_reason_and_day() -> None:
    settings = parse_settings(
        b'[[doctor.ignore]]\ncode = "GUN013"\nreason = "no leak here"\nuntil = 2027-01-31\n', "x.toml"
    )
    assert settings.doctor.ignore == (Ignore(code="GUN013", reason="no leak here", until=date(2027, 1, 31)),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[doctor.ignore]]\ncode = "GUN013"\nuntil = 2027-01-31', "reason"),
        ('[[doctor.ignore]]\ncode = "GUN013"\nreason = "x"', "until"),
        ('[[doctor.ignore]]\ncode = "GUN013"\nreason = "x"\nuntil = "soon"', "until"),
        ('[[doctor.ignore]]\ncode = "GUN013"\nraeson = "x"', "did you mean doctor.ignore.reason?"),
    ],
)
def test_an_incomplete_entry_is_refused(text: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(text.encode(), "x.toml")
    assert words in str(refused.value)


def test_an_unknown_code_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.doctor, "collect", lambda *_: pytest.fail("refused before anything is looked at"))
    ignore = (Ignore(code="GUN113", reason="x", until=TODAY),)
    with pytest.raises(SettingsError, match=r"GUN113.*GUN013"):
        examine(Settings(doctor=DoctorSettings(ignore=ignore)), since=900, budget=10)
