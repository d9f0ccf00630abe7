"""`gte-ops doctor --fix`: a real fault, its remedy, and a second diagnosis that no longer finds it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.faults.case import Case
from tests.lab.faults.gunicorn import (
    everything_is_stopped,
    gunicorn_is_killed,
    gunicorn_is_stopped,
    gunicorn_on_a_socket_is_killed,
    master_is_stopped,
    pidfile_names_a_process_that_is_gone,
)
from tests.lab.faults.nginx import mended_file_was_never_loaded, nginx_is_killed, nginx_is_stopped
from tests.lab.faults.ops import (
    log_was_removed_to_make_room,
    log_was_renamed_and_nobody_told,
    nobody_makes_backups,
)
from tests.lab.faults.tls import key_is_readable_by_everybody, renewed_certificate_is_not_served
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


@dataclass(frozen=True)
class Fixed:
    """One run: its document, exit code, and standard error with it."""

    document: dict[str, Any]
    exit_code: int
    said: str

    def results(self, code: str) -> list[str]:
        """What became of a cause's remedies."""
        return [item["result"] for item in self.document["fix"]["remedies"] if item["code"] == code]


def fix(stack: Stack, *arguments: str) -> Fixed:
    """A run below the stack's keeper, so that what it starts ends with the stack."""
    number = time.monotonic_ns()
    output = stack.logs / f"fix-{number}.json"
    said = stack.logs / f"fix-{number}.err"
    command = stack.gte_ops_command(
        "doctor", "--config", str(stack.config_file), "--format", "json", "--skip", "HST005", *arguments
    )
    shell = ["sh", "-c", 'out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err"', "sh", str(output), str(said)]
    pid = stack.keeper.spawn(
        [*shell, *command], cwd=stack.directory, env=stack.environment(), output=stack.logs / "fix.log"
    )
    wait_for(lambda: stack.keeper.exit_code(pid) is not None, "--fix to end", within=120)
    code = stack.keeper.exit_code(pid)
    assert code is not None
    errors = said.read_text()
    assert output.read_text(), f"exit {code}: {errors}"
    return Fixed(json.loads(output.read_text()), code, errors)


def record(stack: Stack) -> list[dict[str, Any]]:
    """The lines of the record."""
    path = stack.run / "fix.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(ran: Fixed) -> str:
    """What a failing test has to show."""
    return f"exit {ran.exit_code}: {ran.document['causes']} {ran.document.get('fix')} {ran.said}"


def cause_all(stack: Stack, *cases: Case) -> None:
    """The faults, each met by a client, one after the other."""
    for case in cases:
        case.inject(stack)
        wait_for(lambda: case.sees(stack), f"a client to meet {case.name}", within=20, every=0.05)  # noqa: B023


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param((gunicorn_is_killed,), id="service"),
        pytest.param((gunicorn_is_stopped, nginx_is_stopped), id="both servers", marks=pytest.mark.long),
        pytest.param((gunicorn_on_a_socket_is_killed,), id="service on a socket", marks=pytest.mark.long),
        pytest.param((nginx_is_killed,), id="nginx"),
        pytest.param((mended_file_was_never_loaded,), id="reload"),
        pytest.param((master_is_stopped,), id="stopped master"),
        pytest.param((everything_is_stopped,), id="all stopped", marks=pytest.mark.long),
        pytest.param((renewed_certificate_is_not_served,), id="renewed", marks=pytest.mark.long),
        pytest.param(
            (
                key_is_readable_by_everybody,
                log_was_renamed_and_nobody_told,
                nobody_makes_backups,
                pidfile_names_a_process_that_is_gone,
            ),
            id="safeguards",
        ),
        pytest.param((log_was_removed_to_make_room,), id="gunicorn's log", marks=pytest.mark.long),
    ],
)
def test_safe_remedies_mend_what_is_broken(cases: tuple[Case, ...]) -> None:
    codes = {case.code for case in cases}
    with Stack(**{name: value for case in cases for name, value in case.stack.items()}) as stack:
        cause_all(stack, *cases)
        ran = fix(stack, "--fix", "--yes")
        assert set(ran.document["fix"]["fixed"]) == codes, told(ran)
        assert all(ran.results(code) == ["applied"] for code in codes), told(ran)
        assert ran.document["causes"] == [], told(ran)
        assert ran.exit_code == 0, told(ran)
        assert stack.predict().status == 200
        steps = [(line["step"], line.get("code"), line.get("outcome")) for line in record(stack)]
        assert steps[0][0] == "diagnosed"
        assert all(("begun", code, None) in steps for code in codes)
        assert all(("done", code, "applied") in steps for code in codes)
        assert steps[-1][0] == "verified"


@pytest.fixture
def limited() -> Iterator[Stack]:
    """The guide's site, whose rate limit answers 503."""
    with Stack(layout="guide", traps=["limit_req answers 503"]) as stack:
        yield stack


def test_an_edit_is_one_line_tested_loaded_and_kept_reversible(limited: Stack) -> None:
    stack = limited
    before, mode = stack.site_file.read_text(), stack.site_file.stat().st_mode
    shown = fix(stack, "--fix", "--only", "NGX018")
    assert stack.site_file.read_text() == before
    assert shown.results("NGX018") == ["shown"], told(shown)
    assert not (stack.run / "fix.jsonl").exists()
    workers = {worker.pid for worker in stack.nginx_workers}
    ran = fix(stack, "--fix", "--yes", "--only", "NGX018")
    assert ran.document["fix"]["fixed"] == ["NGX018"], told(ran)
    (remedy,) = ran.document["fix"]["remedies"]
    added = [line for line in remedy["diff"] if line.startswith("+") and not line.startswith("+++")]
    assert [line[1:].strip() for line in added] == ["limit_req_status 429;"]
    after = stack.site_file.read_text().splitlines(keepends=True)
    assert "".join(line for line in after if "limit_req_status" not in line) == before
    assert stack.site_file.stat().st_mode == mode
    assert [Path(kept).read_text() for kept in remedy["kept"]] == [before]
    assert not workers & {worker.pid for worker in stack.nginx_workers}
    assert 429 in {stack.predict().status for _ in range(40)}


def test_an_edit_that_nginx_refuses_leaves_the_file_byte_for_byte(limited: Stack) -> None:
    """The directive is there already, where the doctor does not see it: nginx takes no second one beside it."""
    stack = limited
    # Deeper than the doctor follows includes; nginx goes to the end.
    for depth in range(25):
        deeper = f"include {stack.run}/deep-{depth + 1}.inc;\n"
        (stack.run / f"deep-{depth}.inc").write_text(deeper if depth < 24 else "limit_req_status 503;\n")
    limit = next(line for line in stack.site_file.read_text().splitlines() if "limit_req zone" in line)
    stack.edit(stack.site_file, limit, f"{limit}\n        include {stack.run}/deep-0.inc;")
    before = (
        stack.site_file.read_bytes(),
        stack.site_file.stat().st_mtime_ns,
        stack.site_file.stat().st_mode,
    )
    workers = {worker.pid for worker in stack.nginx_workers}
    ran = fix(stack, "--fix", "--yes", "--only", "NGX018")
    (remedy,) = ran.document["fix"]["remedies"]
    assert remedy["result"] == "refused", told(ran)
    assert "duplicate" in remedy["detail"], told(ran)
    now = stack.site_file.stat()
    assert (stack.site_file.read_bytes(), now.st_mtime_ns, now.st_mode) == before
    assert sorted(path.name for path in stack.site_file.parent.iterdir()) == [stack.site_file.name]
    assert {worker.pid for worker in stack.nginx_workers} == workers
    assert ran.document["fix"]["remaining"] == ["NGX018"]
    assert [line["step"] for line in record(stack)] == [
        "diagnosed", "begun", "edit", "put back", "done", "verified"
    ]  # fmt: skip
