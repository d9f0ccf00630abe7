"""What an assistant is answered: bounded, without secrets, and within its time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ops.mcp import command
from ops.mcp.answer import MAX_CHARS, NOTICE, Answer, answer_of, bounded
from ops.mcp.command import Toolkit
from ops.mcp.repair_plan import Plans, fingerprint


@pytest.mark.parametrize(
    "document",
    [
        {"lines": ["x" * 500] * 5000},
        {"text": "x" * 10_000_000},
        {"deep": [{"a": ["y" * 2000] * 300}] * 300},
        {str(number): "z" * 100 for number in range(5000)},
    ],
)
def test_an_answer_is_bounded_and_says_that_something_was_left_out(document: dict[str, Any]) -> None:
    shorter, is_cut = bounded(document)
    assert is_cut
    assert len(json.dumps(shorter, ensure_ascii=False)) <= MAX_CHARS
    assert "left out" in json.dumps(shorter)


def test_a_small_document_is_the_same() -> None:
    assert bounded({"status": "ok"}) == ({"status": "ok"}, False)


def test_secrets_are_hidden_in_values_and_names() -> None:
    output = json.dumps({"lines": ["password=hunter2hunter2"], "https://u:hunter2hunter2@h/": 1}).encode()
    answer = answer_of("gte-ops doctor", 0, 0.1, output)
    assert "hunter2" not in repr(answer)
    assert answer.notice == NOTICE


@pytest.mark.parametrize("output", [b"", b"not json", b"[" * 100_000, b"\xff\xfe"])
def test_output_that_is_no_document_is_an_error(output: bytes) -> None:
    assert answer_of("gte-ops doctor", 3, 0.1, output).error


def test_a_command_is_ended_at_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("")
    (tmp_path / "ops" / "cli.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(command, "_module_path", lambda: str(tmp_path))
    began = time.monotonic()
    answer = Toolkit(None, "en").run(["doctor"], 1.0)
    assert time.monotonic() - began < 10
    assert (answer.exit_code, answer.untrusted_data) == (None, {})
    assert "limit" in answer.error


def plan_of(*remedies: dict[str, Any]) -> Answer:
    return Answer("gte-ops doctor --fix --dry-run", 2, 1.0, NOTICE, {"fix": {"remedies": list(remedies)}})


SAFE = {
    "code": "NGX005",
    "safety": "safe",
    "what": "edit",
    "commands": ["nginx -s reload"],
    "diff": ["-a", "+b"],
}


def test_a_plans_token_is_good_once_and_for_that_plan_alone() -> None:
    plans = Plans()
    token = plans.token_for(plan_of(SAFE))
    assert plans.take("x" * 32) is None
    assert plans.take(token) == fingerprint(plan_of(SAFE))
    assert plans.take(token) is None
    assert fingerprint(plan_of(SAFE)) != fingerprint(plan_of({**SAFE, "diff": ["-a", "+c"]}))


def test_a_token_ends_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = Plans()
    token = plans.token_for(plan_of(SAFE))
    later = time.monotonic() + 601
    monkeypatch.setattr("ops.mcp.repair_plan.time.monotonic", lambda: later)
    assert plans.take(token) is None


@pytest.mark.parametrize("remedy", [{**SAFE, "safety": "risky"}, {**SAFE, "by_hand": ["look"]}])
def test_a_plan_that_changes_nothing_by_itself_has_no_token(remedy: dict[str, Any]) -> None:
    assert Plans().token_for(plan_of(remedy)) == ""
