"""A run whose time was over before everything was seen does not call the host healthy."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ops.collect.task import Task
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Status
from ops.facts.base import UNFINISHED, NotSeen
from ops.report.doctor.text import verdict
from tests.unit.made_snapshot import HEALTHY, but, page

LATE = NotSeen(reason=f"'logs' {UNFINISHED}")


@pytest.mark.parametrize("section", ["logs", "backend", "processes", "nginx_config", "nginx_test"])
def test_nothing_wrong_in_a_part_is_not_healthy(section: str) -> None:
    changes: dict[str, Any] = {section: LATE}
    diagnosis = diagnose(but(**changes), CHECKS)
    assert diagnosis.status is Status.UNKNOWN
    assert "not all was seen in time" in verdict(diagnosis, "en")
    assert "没有看完" in verdict(diagnosis, "zh")


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
    [NotSeen(reason="nginx writes no log"), NotSeen(reason="'logs' failed", needs_root=True)],
    ids=str,
)
def test_what_no_longer_run_would_see_does_not_count(unseen: NotSeen) -> None:
    assert diagnose(but(logs=unseen), CHECKS).status is Status.OK


def test_a_section_that_no_chosen_check_looks_at_does_not_count() -> None:
    chosen = [check for check in CHECKS if "logs" not in (*check.needs, *check.optional_inputs)]
    assert diagnose(but(logs=LATE), chosen).status is Status.OK


def test_a_safeguard_that_was_not_seen_in_time_does_not_count() -> None:
    assert diagnose(but(backups=LATE), CHECKS).status is Status.OK
    assert diagnose(HEALTHY, CHECKS).status is Status.OK
