"""One fault and `doctor --fix=risky --yes`: a baseline and a backup are made while the service is healthy, then the
fault is caused, the repair run, and a client asked."""

from __future__ import annotations

import inspect
import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from tests.lab.changed import keep_baseline
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Case
from tests.lab.stack import Stack
from tests.lab.waiting import NotInTimeError, wait_for

FIX_SECONDS = 240.0
SERVED_WITHIN = 12.0
LIMIT_SECONDS = 6.0


@dataclass(frozen=True)
class WayBack:
    """What became of one fault. ``served_before`` and ``served``: whether a prediction was answered before and after
    the repair; ``results``: each remedy's code, outcome and detail."""

    code: str
    name: str
    severity: str
    is_mended: bool
    served_before: bool
    served: bool
    results: tuple[tuple[str, str, str], ...]

    @property
    def kind(self) -> str:
        """worse: a served client is not served any more; passed: it has gone without a repair."""
        if self.served_before and not self.served:
            return "worse"
        if not self.is_mended:
            return "not mended"
        is_repaired = any(outcome == "applied" for _, outcome, _ in self.results)
        return "mended" if is_repaired else "passed"


# Their fault is in how the stack is brought up too: what is injected only shows it.
_SHOWN_BY_REQUESTS = {
    "all_workers_are_busy",
    "all_workers_are_busy_without_records",
    "backend_hangs_up_before_it_answers",
    "clients_give_up",
    "nginx_gives_up_while_requests_queue",
    "prediction_raises",
    "predictions_are_slow",
    "rate_limit_turns_requests_away",
    "some_input_raises",
    "some_requests_fail_without_a_word",
    "worker_takes_longer_than_the_timeout",
}


def is_broken_from_the_start(case: Case) -> bool:
    """Whether the fault is in how its stack is brought up."""
    return case.name in _SHOWN_BY_REQUESTS or "_stack" in inspect.signature(case.inject).parameters


def healthy_stack(case: Case) -> Stack:
    """The stack as it was before the fault: one that is broken from the start is brought up without what breaks it."""
    if not is_broken_from_the_start(case):
        return Stack(**case.stack)
    broken = ("traps", "site", "gunicorn_extra", "gunicorn_args", "service_environment", "timeout")
    options = {name: value for name, value in case.stack.items() if name not in broken}
    if "app" in options and case.stack["app"] != PLAIN_APP:
        options["app"] = PLAIN_APP
    return Stack(**options)


def try_way_back(case: Case) -> WayBack:
    """Keep a baseline and a backup, cause ``case``, repair, and ask a client. Raises NotHereError."""
    with healthy_stack(case) as stack:
        keep_baseline(stack)
        make_backup(stack)
        is_served_when_healthy, is_met_when_healthy = _is_served(stack), meets(stack, case)
        if case.stack.get("unix_socket"):
            stack.reload_nginx()  # Connections to the service that are open would outlive the fault.
        if is_broken_from_the_start(case):
            stack.become(**case.stack)
        case.inject(stack)
        wait_for(lambda: case.sees(stack), f"a client to meet {case.name}", within=15, every=0.05)
        let_dates_pass(stack)
        served_before = _is_served(stack)
        document = repaired(stack)
        is_mended = _is_mended(
            stack,
            case,
            is_served_when_healthy=is_served_when_healthy,
            is_met_when_healthy=is_met_when_healthy,
        )
        served = _is_served(stack)
        return WayBack(
            case.code, case.name, case.severity, is_mended, served_before, served, results_of(document)
        )


def make_backup(stack: Stack) -> None:
    """`gte-ops backup create`, as the host's timer does it."""
    ran = stack.gte_ops("backup", "create", "--config", str(stack.config_file))
    assert ran.exit_code in (0, 1), f"{ran.stdout}{ran.stderr}"


def repaired(stack: Stack, *arguments: str) -> dict[str, Any]:
    """The document of `doctor --fix=risky --yes`, run below the stack's keeper."""
    number = time.monotonic_ns()
    output, said = stack.logs / f"way-back-{number}.json", stack.logs / f"way-back-{number}.err"
    command = stack.gte_ops_command(
        "doctor", "--config", str(stack.config_file), "--format", "json", "--skip", "HST005", *arguments,
        "--fix=risky", "--yes",
    )  # fmt: skip
    shell = ["sh", "-c", 'out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err"', "sh", str(output), str(said)]
    pid = stack.keeper.spawn(
        [*shell, *command], cwd=stack.directory, env=stack.environment(), output=stack.logs / "way-back.log"
    )
    wait_for(lambda: stack.keeper.exit_code(pid) is not None, "--fix to end", within=FIX_SECONDS)
    text = output.read_text()
    assert text, said.read_text()
    document: dict[str, Any] = json.loads(text)
    assert "fix" in document, f"{text}{said.read_text()}"
    return document


def results_of(document: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Each remedy's code, outcome, and what it says."""
    return tuple(
        (item["code"], item["result"], item["detail"] or item["what"])
        for item in document.get("fix", {}).get("remedies", [])
    )


def _is_served(stack: Stack) -> bool:
    """Whether predictions are answered in JSON, three in a row. The site's rate limit counts this client's questions
    too."""
    give_up = time.monotonic() + LIMIT_SECONDS
    answered = 0
    while answered < 3 and time.monotonic() < give_up:
        answer = stack.predict(timeout=5.0)
        if answer.status == 429:
            time.sleep(1.0)
        elif answer.status != 200 or answer.content_type != "application/json":
            return False
        else:
            answered += 1
    return answered == 3


def let_dates_pass(stack: Stack) -> None:
    """Some faults date an edit a few seconds ahead: what is loaded later must be younger."""
    files = [*stack.nginx_dir.rglob("*.conf"), *stack.app_dir.glob("*.py")]
    newest = max(file.stat().st_mtime for file in files)
    wait_for(lambda: time.time() > newest + 1, "the edit's time", within=45, every=0.5)


def _is_mended(stack: Stack, case: Case, *, is_served_when_healthy: bool, is_met_when_healthy: bool) -> bool:
    """Whether a client is served as it was and no longer meets the fault; of a fault that no client meets, whether the
    doctor no longer names it."""

    def is_well() -> bool:
        if is_served_when_healthy and not _is_served(stack):
            return False
        if is_met_when_healthy:
            return case.code not in stack.doctor("--only", case.code).codes
        return not meets(stack, case)

    try:
        wait_for(is_well, "a client to be served", within=SERVED_WITHIN, every=1.0)
    except (NotInTimeError, subprocess.SubprocessError):
        return False
    return True


def meets(stack: Stack, case: Case) -> bool:
    try:
        return bool(case.sees(stack))
    except (OSError, AssertionError):
        return False
