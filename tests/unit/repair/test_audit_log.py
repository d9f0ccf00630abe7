"""The audit log of `doctor --fix`: what the first version wrote is read, and a run that was cut off is told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.repair.audit_log import AuditLog, AuditStep, UnfinishedRemedy, unfinished
from ops.repair.model import Outcome

# Written by commit 632b38c on a real host of the lab: remedies applied, held, failed, refused, interrupted by SIGTERM,
# and in the last run one that SIGKILL cut off between the edit and nginx -t. Only its directory's name was replaced.
FIRST_VERSION = Path(__file__).with_name("recorded") / "fix-0.1.jsonl"
SITE = "/srv/lab/nginx/conf.d/gte-api.conf"
COPY = "/srv/lab/nginx/conf.d/.gte-api.conf.20261130T061659~"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A copy of the first version's log, where a log of ours would be."""
    path = tmp_path / "fix.jsonl"
    path.write_bytes(FIRST_VERSION.read_bytes())
    return path


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def note(path: Path, *steps: tuple[AuditStep, dict[str, Any]]) -> None:
    with AuditLog(path) as audit_log:
        for step, facts in steps:
            audit_log.note(step, **facts)


def test_every_outcome_of_the_first_version_is_an_outcome_still(log: Path) -> None:
    outcomes = {Outcome(entry["outcome"]) for entry in entries(log) if entry["step"] == "done"}
    assert outcomes == {Outcome.APPLIED, Outcome.BLOCKED, Outcome.FAILED, Outcome.REFUSED}


def test_a_run_of_the_first_version_that_was_killed_is_told_of_with_the_old_file(log: Path) -> None:
    assert unfinished(log) == UnfinishedRemedy(
        "2026-11-30T06:16:59.742+00:00",
        "NGX018",
        "have the rate limit answer 429: test it with nginx -t, reload, or put the old file back",
        ((SITE, COPY),),
    )


def test_a_new_run_continues_the_first_versions_log_and_ends_what_is_told(log: Path) -> None:
    before = entries(log)
    note(log, (AuditStep.DIAGNOSED, {"status": "ok", "causes": []}))
    assert entries(log)[:-1] == before
    assert unfinished(log) is None


def test_a_line_that_a_kill_cut_short_is_passed_over(log: Path) -> None:
    with log.open("a") as file:
        file.write('{"time": "2026-11-30T06:17')
    cut_off = unfinished(log)
    assert cut_off is not None
    assert cut_off.code == "NGX018"


@pytest.mark.parametrize("ending", [AuditStep.DONE, AuditStep.INTERRUPTED])
def test_a_remedy_that_ended_is_not_told_of(tmp_path: Path, ending: AuditStep) -> None:
    path = tmp_path / "fix.jsonl"
    note(path, (AuditStep.DIAGNOSED, {}), (AuditStep.BEGUN, {"code": "TLS010"}), (ending, {"code": "TLS010"}))
    assert unfinished(path) is None


def test_a_file_that_is_back_in_its_place_has_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "fix.jsonl"
    edits = [(AuditStep.EDIT, {"path": place, "kept": f"{place}~"}) for place in ("/a", "/b")]
    note(
        path,
        (AuditStep.DIAGNOSED, {}),
        (AuditStep.BEGUN, {"code": "NGX018"}),
        *edits,
        (AuditStep.PUT_BACK, {"path": "/b"}),
    )
    cut_off = unfinished(path)
    assert cut_off is not None
    assert cut_off.copies == (("/a", "/a~"),)


def test_a_run_that_still_holds_the_log_is_not_cut_off(log: Path) -> None:
    with AuditLog(log):
        assert unfinished(log) is None
    assert unfinished(log) is not None


def test_no_log_or_one_that_is_none_tells_of_nothing(tmp_path: Path) -> None:
    assert unfinished(tmp_path / "none.jsonl") is None
    (tmp_path / "fix.jsonl").write_text("[]\nnull\n\x00\xff\n")
    assert unfinished(tmp_path / "fix.jsonl") is None
