"""`gte-ops doctor --fix`: a real fault, its remedy, and a second diagnosis that no longer finds it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Case
from tests.lab.faults.gunicorn import (
    configuration_changed_since,
    everything_is_stopped,
    gunicorn_is_killed,
    gunicorn_is_stopped,
    gunicorn_on_a_socket_is_killed,
    master_is_stopped,
    pidfile_names_a_process_that_is_gone,
)
from tests.lab.faults.hanging import one_worker_waits_for_a_lock
from tests.lab.faults.nginx import (
    mended_file_was_never_loaded,
    nginx_is_killed,
    nginx_is_stopped,
    proxy_pass_names_the_wrong_port,
)
from tests.lab.faults.ops import (
    log_was_removed_to_make_room,
    log_was_renamed_and_nobody_told,
    nobody_makes_backups,
)
from tests.lab.faults.tls import key_is_readable_by_everybody, renewed_certificate_is_not_served
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import resident


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
    wait_for(lambda: not workers & {w.pid for w in stack.nginx_workers}, "the old workers to end", within=20)
    assert 429 in {stack.predict().status for _ in range(40)}


def test_an_edit_that_nginx_refuses_leaves_the_file_byte_for_byte(limited: Stack) -> None:
    """nginx finds what the doctor does not see. Which file that would be is not to be had here (a configuration of
    which a part was not read is not edited), so its program stands in: it refuses the edit, and is nginx otherwise."""
    stack = limited
    program = stack.directory / "nginx-that-refuses"
    program.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" -t "*) if grep -q limit_req_status {stack.site_file}; then\n'
        'echo "nginx: [emerg] \\"limit_req_status\\" directive is duplicate" >&2; exit 1; fi;; esac\n'
        f'exec {shutil.which("nginx")} "$@"\n'
    )
    program.chmod(0o755)
    stack.config["nginx"]["binary"] = str(program)
    stack.write_config()
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


def test_a_risky_remedy_is_not_touched_until_it_is_asked_for() -> None:
    with Stack() as stack:
        cause_all(stack, proxy_pass_names_the_wrong_port)
        before = stack.site_file.read_bytes()
        ran = fix(stack, "--fix", "--yes")
        assert ran.results("NGX005") == ["held"], told(ran)
        assert ran.exit_code == 2
        assert stack.site_file.read_bytes() == before
        assert stack.predict().status == 502
        ran = fix(stack, "--fix=risky", "--yes")
        assert ran.document["fix"]["fixed"] == ["NGX005"], told(ran)
        assert stack.predict().status == 200


@pytest.mark.long
def test_a_stuck_worker_is_ended_alone_with_its_evidence_kept() -> None:
    with Stack(**one_worker_waits_for_a_lock.stack) as stack:
        cause_all(stack, one_worker_waits_for_a_lock)
        victim, other = (worker.pid for worker in stack.gunicorn_workers)
        held = fix(stack, "--fix", "--yes")
        assert held.results("GUN015") == ["held"], told(held)
        assert victim in {worker.pid for worker in stack.gunicorn_workers}
        ran = fix(stack, "--fix=risky", "--yes")
        assert ran.results("GUN015") == ["applied"], told(ran)
        # Not GUN014 either: who sent the SIGKILL is written down.
        assert ran.document["causes"] == [], told(ran)
        pids = {worker.pid for worker in stack.gunicorn_workers}
        assert victim not in pids
        assert other in pids
        (folder,) = (stack.run / "watchdog-evidence").iterdir()
        assert {"proc.txt", "look.json", f"stacks-{victim}-1.txt", f"stacks-{victim}-2.txt"} <= {
            file.name for file in folder.iterdir()
        }


@pytest.mark.long
def test_changed_configuration_is_taken_up_by_new_workers() -> None:
    with Stack() as stack:
        cause_all(stack, configuration_changed_since)
        # The fault dates the edit a few seconds ahead: the workers that read it must be the younger ones.
        wait_for(lambda: time.time() > stack.gunicorn_conf.stat().st_mtime + 1, "the edit's time", within=20)
        ran = fix(stack, "--fix=risky", "--yes")
        assert ran.results("GUN011") == ["applied"], told(ran)
        assert ran.document["causes"] == [], told(ran)


@pytest.mark.long
def test_a_misspelt_setting_is_corrected_and_the_service_restarted_with_it() -> None:
    with Stack(app=PLAIN_APP, gunicorn_extra="preload = True\n") as stack:
        ran = fix(stack, "--fix=risky", "--yes", "--only", "GUN008")
        assert ran.results("GUN008") == ["applied"], told(ran)
        assert ran.document["fix"]["fixed"] == ["GUN008"], told(ran)
        assert "preload_app = True" in stack.gunicorn_conf.read_text()
        assert stack.predict().status == 200


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"app": PLAIN_APP, "gunicorn_extra": 'worker_clas = "no.such.Worker"\n'}, id="ends at once"
        ),
        # The models load in threads of the master, which no worker has.
        pytest.param({"layout": "guide", "traps": ["preload"]}, id="never becomes ready"),
    ],
)
def test_a_gunicorn_setting_that_keeps_the_service_down_is_put_back(options: dict[str, Any]) -> None:
    with Stack(**options) as stack:
        stack.config["app"]["boot_deadline"] = "10s"
        stack.write_config()
        before = stack.gunicorn_conf.read_text()
        ran = fix(stack, "--fix=risky", "--yes", "--only", "GUN008")
        assert ran.results("GUN008") == ["refused"], told(ran)
        assert stack.gunicorn_conf.read_text() == before
        assert stack.predict().status == 200


@pytest.mark.long
def test_our_rotation_rule_is_installed_where_there_is_none() -> None:
    with Stack() as stack:
        (stack.logrotate / "gte-api").unlink()
        ran = fix(stack, "--fix", "--yes")
        assert ran.results("OPS001") == ["applied"], told(ran)
        assert ran.document["causes"] == [], told(ran)


@pytest.mark.long
def test_a_start_that_fails_is_said_and_the_cause_stays() -> None:
    with Stack() as stack:
        stack.config["gunicorn"]["start_command"] = ["/bin/false"]
        stack.write_config()
        cause_all(stack, gunicorn_is_killed)
        ran = fix(stack, "--fix", "--yes")
        assert ran.results("GUN001") == ["failed"], told(ran)
        assert ran.document["fix"]["remaining"] == ["GUN001"], told(ran)
        assert ran.exit_code == 2
        assert record(stack)[-2]["outcome"] == "failed"


@pytest.mark.long
def test_somebody_s_pause_keeps_servers_alone_and_files_are_mended() -> None:
    with Stack() as stack:
        cause_all(stack, nginx_is_killed)
        stack.private_key.resolve().chmod(0o644)
        stack.gte_ops("watchdog", "--config", str(stack.config_file), "pause", "10m")
        ran = fix(stack, "--fix", "--yes")
        assert ran.results("NGX002") == ["held"], told(ran)
        assert ran.results("TLS010") == ["applied"], told(ran)
        assert stack.nginx_master is None
        stack.gte_ops("watchdog", "--config", str(stack.config_file), "resume")
        ran = fix(stack, "--fix", "--yes")
        assert ran.results("NGX002") == ["applied"], told(ran)
        assert ran.exit_code == 0, told(ran)


@pytest.mark.long
def test_a_resident_watchdog_holds_still_meanwhile_and_goes_on_after() -> None:
    with Stack() as stack:
        stack.config["watchdog"] |= {"interval": "1s"}
        stack.write_config()
        with resident(stack) as watchdog:
            wait_for((stack.run / "watchdog.json").exists, "its first round", within=20)
            cause_all(stack, nginx_is_killed)
            ran = fix(stack, "--fix", "--yes")
            assert ran.results("NGX002") == ["applied"], told(ran)
            assert not (stack.run / "watchdog.json.pause").exists()
            assert psutil.pid_exists(watchdog.pid)


# A start under a parent that never reaps its children: a container whose first process is no init.
_NEVER_REAPS = ["sh", "-c", '"$@" & exec sleep 86400', "sh"]
_HANGS_ON_DEMAND = (
    PLAIN_APP
    + """
import pathlib, threading
HANG = pathlib.Path(__file__).with_name("hang")
@app.before_request
def hang_on_demand():
    if HANG.exists():
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
"""
)


@pytest.fixture
def hung() -> Iterator[Stack]:
    """A service that answers nothing any more, whose master will be a zombie once it is killed."""
    stack = Stack(app=_HANGS_ON_DEMAND, worker_class="gthread", threads=2)
    stack.launcher = _NEVER_REAPS
    with stack:
        (stack.app_dir / "hang").touch()
        for _ in range(3):
            assert stack.predict(timeout=0.3).status is None
        (stack.app_dir / "hang").unlink()
        assert stack.predict(timeout=0.5).status is None
        yield stack


def test_a_hung_master_is_ended_its_pidfile_removed_and_the_new_one_serves_a_client(hung: Stack) -> None:
    old = int(hung.gunicorn_pidfile.read_text())
    ran = fix(hung, "--fix=risky", "--yes", "--only", "GUN007,GUN001")
    assert ran.results("GUN007") == ["applied"], told(ran)
    assert ran.document["fix"]["fixed"] == ["GUN007"], told(ran)
    assert ran.document["fix"]["not_fixed"] == []
    assert hung.predict().status == 200
    assert int(hung.gunicorn_pidfile.read_text()) != old
    (stale,) = [line for line in record(hung) if line["step"] == "stale pidfile"]
    assert (stale["path"], stale["kept"]) == (str(hung.gunicorn_pidfile), "")
    assert psutil.Process(old).status() == psutil.STATUS_ZOMBIE


def test_an_outage_that_a_repair_left_behind_is_said_in_the_readers_language(hung: Stack) -> None:
    hung.config["gunicorn"]["start_command"] = ["/bin/false"]
    hung.write_config()
    ran = fix(hung, "--fix=risky", "--yes", "--only", "GUN007,GUN001", "--lang", "zh")
    assert ran.results("GUN007") == ["failed"], told(ran)
    assert ran.document["fix"]["fixed"] == []
    assert ran.document["fix"]["not_fixed"] == ["GUN007"]
    assert ran.document["fix"]["new"] == ["GUN001"]
    (remedy,) = [item for item in ran.document["fix"]["remedies"] if item["code"] == "GUN007"]
    assert remedy["detail"].startswith("/bin/false 以退出码 1 结束"), remedy["detail"]


# Ends the run by a signal once the edited file lies there, and before nginx has been asked.
_KILLED = """
import os, signal, sys
from ops.repair.apply import nginx as applying
asked = []
test = applying._test
def ends(around):
    asked.append(1)
    if len(asked) == 2:
        os.kill(os.getpid(), signal.{name})
    return test(around)
applying._test = ends
from ops.cli.main import main
main()
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_run_that_is_ended_leaves_the_old_file_or_the_new_one_whole(limited: Stack, name: str) -> None:
    stack = limited
    before = stack.site_file.read_text()
    arguments = ["doctor", "--config", str(stack.config_file), "--fix", "--yes", "--only", "NGX018"]
    ran = subprocess.run(
        [sys.executable, "-c", _KILLED.replace("{name}", name), *arguments],
        cwd=stack.directory,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    names = {path.name for path in stack.site_file.parent.iterdir()}
    if name == "SIGKILL":
        after = "".join(
            line
            for line in stack.site_file.read_text().splitlines(keepends=True)
            if "limit_req_status 429;" not in line
        )
        assert after == before
        assert "limit_req_status 429;" in stack.site_file.read_text()
        (kept,) = names - {stack.site_file.name}
        assert (stack.site_file.parent / kept).read_text() == before
    else:
        assert ran.returncode == 130, ran.stderr
        assert stack.site_file.read_text() == before
        assert names == {stack.site_file.name}
        assert record(stack)[-1]["step"] == "interrupted"
    assert subprocess.run(stack.nginx_command("-t"), capture_output=True, check=False).returncode == 0
