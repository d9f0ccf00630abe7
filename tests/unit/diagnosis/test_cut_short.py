"""A run whose time was over before everything was seen does not call the host healthy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ops.collect.task import Task
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Diagnosis, Status
from ops.facts.base import UNFINISHED, NotSeen
from ops.report.doctor.report import DoctorReport
from ops.report.doctor.text import verdict
from ops.text.language import Language
from tests.unit.made_snapshot import HEALTHY, but, page

LATE = NotSeen(reason=f"'logs' {UNFINISHED}")


@pytest.mark.parametrize("section", ["logs", "backend", "processes", "nginx_config", "nginx_test"])
def test_nothing_wrong_in_a_part_is_not_healthy(section: str) -> None:
    changes: dict[str, Any] = {section: LATE}
    diagnosis = diagnose(but(**changes), CHECKS)
    assert diagnosis.status is Status.UNKNOWN
    assert "not all was seen in time" in verdict(diagnosis, "en")
    assert "没有看完" in verdict(diagnosis, "zh")


@pytest.mark.parametrize("section", ["logs", "backend", "processes", "nginx_config", "nginx_test"])
def test_a_part_whose_reading_failed_is_not_healthy(section: str) -> None:
    changes: dict[str, Any] = {section: NotSeen(reason="the collector failed: KeyError: 'x'")}
    diagnosis = diagnose(but(**changes), CHECKS)
    assert (diagnosis.status, diagnosis.exit_code) == (Status.UNKNOWN, 3)
    assert "could not be judged" in verdict(diagnosis, "en")


def test_a_task_that_does_not_end_says_so_in_these_words() -> None:
    release = threading.Event()
    task = Task("logs", release.wait)
    assert task.wait(0.0).is_unfinished
    release.set()


def test_what_hurts_users_is_still_said() -> None:
    broken = but(logs=LATE, front__predict=page(500, "Internal Server Error"))
    assert diagnose(broken, CHECKS).status is Status.FAIL


@pytest.mark.parametrize(
    "unseen",
    [
        NotSeen(reason="nginx writes no log", is_lasting=True),
        NotSeen(reason="'logs' failed", needs_root=True),
        NotSeen(reason="others may write it", is_refused=True),
    ],
    ids=str,
)
def test_what_no_longer_run_would_see_does_not_count(unseen: NotSeen) -> None:
    assert diagnose(but(logs=unseen), CHECKS).status is Status.OK


NOT_ANSWERED = NotSeen(reason="systemd did not answer in time")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "answers as it should; checks not made: 9 (systemd did not answer in time)"),
        ("zh", "工作正常；另有 9 项未能检查（systemd 未能及时应答）"),
    ],
)
@pytest.mark.parametrize("headline", [verdict, lambda d, language: DoctorReport(d).alert(language).headline])
def test_a_host_that_is_well_in_what_was_seen_says_in_its_first_line_what_was_not(
    headline: Callable[[Diagnosis, Language], str], language: Language, words: str
) -> None:
    diagnosis = diagnose(but(units=NOT_ANSWERED), CHECKS)
    assert diagnosis.status is Status.OK
    assert headline(diagnosis, language).endswith(words)


def test_a_model_whose_user_is_unknown_is_a_gap() -> None:
    from ops.collect.services.model_access import _reader_of_unit

    unknown = _reader_of_unit("")
    assert isinstance(unknown, NotSeen)
    diagnosis = diagnose(but(model_access=unknown), CHECKS)
    assert any(result.is_gap for result in diagnosis.checks if result.id == "model.access")


def test_where_there_is_nothing_to_see_the_first_line_says_nothing_of_it() -> None:
    nothing = NotSeen(reason="no model directory is configured", is_lasting=True)
    diagnosis = diagnose(but(model=nothing, model_access=nothing), CHECKS)
    assert verdict(diagnosis, "en").endswith("answers as it should")


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": NotSeen(reason="the probe failed: ValueError: x")},
        {"front__predict": NotSeen(reason="no time was left to wait for an answer to POST x")},
        {
            "backend__health": NotSeen(reason="the probe did not finish"),
            "backend__predict": NotSeen(reason="the probe did not finish"),
        },
    ],
    ids=str,
)
def test_without_the_users_way_and_the_service_nothing_is_called_well(changes: dict[str, Any]) -> None:
    diagnosis = diagnose(but(**changes), CHECKS)
    assert (diagnosis.status, diagnosis.exit_code) == (Status.UNKNOWN, 3)


def test_a_section_that_no_chosen_check_looks_at_does_not_count() -> None:
    chosen = [check for check in CHECKS if "logs" not in (*check.needs, *check.optional_inputs)]
    assert diagnose(but(logs=LATE), chosen).status is Status.OK


def test_a_safeguard_that_was_not_seen_in_time_does_not_count() -> None:
    assert diagnose(but(backups=LATE), CHECKS).status is Status.OK
    assert diagnose(HEALTHY, CHECKS).status is Status.OK
