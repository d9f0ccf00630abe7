"""How the watchdog starts a service: as it ran before, or not at all; and what lies in the way of a start."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.lab.faults.app import PLAIN_APP
from tests.lab.stack import Report, Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    RECOVERED,
    answers,
    once,
    rounds_until,
    rungs,
    status,
    told,
    watched,
)

# Answers what the service was started with.
TELLING_APP = """
import json, os, resource

def app(environ, start_response):
    mask = os.umask(0)
    os.umask(mask)
    facts = {
        "keys": os.environ.get("GTE_API_KEYS_FILE"),
        "environment": sorted(os.environ),
        "cwd": os.getcwd(),
        "umask": mask,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts).encode()]
"""


@contextmanager
def keyed(**options: Any) -> Iterator[Stack]:
    """A service that was started with a keys file, while the watchdog runs without one."""
    with watched(app=TELLING_APP, app_progress=False, failures=1, wait="nothing", **options) as stack:
        stack.config["target"]["ready_path"] = "/health"
        stack.write_config()
        keys = stack.app_dir / "keys"
        keys.write_text("a key\n")
        restart_by_hand(stack, GTE_API_KEYS_FILE=str(keys))
        ran = once(stack)
        assert ran.exit_code == HEALTHY, told(ran)
        yield stack


def restart_by_hand(stack: Stack, **variables: str) -> None:
    """The operator starts it from a shell with such variables; nobody else has them."""
    stack.stop_gunicorn()
    before = dict(stack._service_environment)
    stack.set_service_environment(**variables)
    stack.start_gunicorn(wait="answering")
    stack._service_environment.clear()
    stack.set_service_environment(**before)


def facts(stack: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stack.request(path="/health", door="backend").body)
    return answer


def by_script(stack: Stack, text: str) -> None:
    """The start command is a script."""
    script = stack.directory / "start.sh"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    stack.config["gunicorn"]["start_command"] = [str(script)]
    stack.write_config()


def command(stack: Stack) -> str:
    return " ".join(stack.gunicorn_command())


def test_a_service_comes_back_with_all_that_it_was_started_with() -> None:
    with keyed() as stack:
        # A shell's own umask and limits, given to one start alone.
        stack.launcher = ["/bin/sh", "-c", 'umask 027; ulimit -S -n 321; exec "$@"', "sh"]
        restart_by_hand(stack, GTE_API_KEYS_FILE=str(stack.app_dir / "keys"))
        stack.launcher = []
        assert once(stack).exit_code == HEALTHY
        before = facts(stack)
        assert (before["umask"], before["files"][0]) == (0o027, 321)
        stack.kill_gunicorn()
        rounds_until(stack, RECOVERED, at_most=3)
        assert facts(stack) == before
        kept = stack.run / "watchdog-launch.json"
        assert kept.stat().st_mode & 0o777 == 0o600


def test_a_restart_that_loses_the_keys_file_is_no_recovery_until_somebody_says_so() -> None:
    with keyed() as stack:
        by_script(stack, f"exec env -i PATH=$PATH {command(stack)}")
        stack.kill_gunicorn()
        ran = once(stack)
        assert (ran.exit_code, rungs(stack)) == (FAILING, ["restart"]), told(ran)
        assert "GTE_API_KEYS_FILE" in ran.stdout
        assert str(stack.app_dir / "keys") not in ran.stdout, "names, and no values"
        assert facts(stack)["keys"] is None
        assert once(stack).exit_code == FAILING, "it does not pass by itself"
        assert status(stack)["trouble"]["fault"] == "environment_changed"
        stack.gte_ops("watchdog", "forget", "--config", str(stack.config_file))
        assert once(stack).exit_code == HEALTHY


def test_the_operators_own_start_is_remembered_instead() -> None:
    with keyed() as stack:
        other = stack.app_dir / "other-keys"
        other.touch()
        restart_by_hand(stack, GTE_API_KEYS_FILE=str(other))
        assert once(stack).exit_code == HEALTHY
        stack.kill_gunicorn()
        rounds_until(stack, RECOVERED, at_most=3)
        assert facts(stack)["keys"] == str(other)


def test_it_is_not_started_without_a_keys_file_that_was_there() -> None:
    with keyed() as stack:
        keys = stack.app_dir / "keys"
        aside = keys.rename(keys.with_name("aside"))
        stack.kill_gunicorn()
        for _ in range(2):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
            assert str(keys) in ran.stdout
        assert rungs(stack) == [], "nothing was started, and nothing taken from the budget"
        aside.rename(keys)
        rounds_until(stack, RECOVERED, at_most=3)
        assert facts(stack)["keys"] == str(keys)


def test_what_cannot_start_is_tried_once_and_again_after_its_repair() -> None:
    with watched(app=PLAIN_APP, app_progress=False, failures=1, wait="answering") as stack:
        stack.config["target"]["ready_path"] = "/health"
        stack.write_config()
        assert once(stack).exit_code == HEALTHY
        right = stack.gunicorn_conf.read_text()
        stack.gunicorn_conf.write_text(right + '\nworker_class = "missing_package.Worker"\n')
        stack.kill_gunicorn()
        for _ in range(3):
            assert once(stack).exit_code == FAILING
        assert rungs(stack) == ["restart"], "its own words said that a second one fails too"
        assert "GUN001" in status(stack)["trouble"]["causes"]
        stack.gunicorn_conf.write_text(right)
        # A repair ends no back-off: the restart that failed began one of 10 s.
        wait_for(
            lambda: once(stack).exit_code == RECOVERED,
            "the repaired service to be started",
            within=60,
            every=0.5,
        )
        assert rungs(stack) == ["restart", "restart"]


# --- what lies in the way ---------------------------------------------------------------------------------------------


@contextmanager
def other_gunicorn(stack: Stack) -> Iterator[psutil.Process]:
    """Another service of this machine, unharmed at the end."""
    home = stack.directory / "other"
    home.mkdir()
    (home / "app.py").write_text(PLAIN_APP)
    bind = f"{stack.address}:{stack.free_port()}"
    words = [sys.executable, "-m", "gunicorn", "--bind", bind, "--no-control-socket", "app:app"]
    other = psutil.Process(stack.spawn(*words, cwd=home))
    stack.wait_until_listening(bind)
    wait_for(other.children, "its worker")
    before = other.children()
    yield other
    assert other.children() == before, "the other service was touched"


def told_of_stale(ran: list[Report]) -> bool:
    return any('"stale_pidfile"' in report.stdout for report in ran)


@pytest.mark.parametrize("named_by", ["the settings", "gunicorn alone"])
def test_a_stale_pidfile_with_another_gunicorns_pid(named_by: str) -> None:
    with (
        watched(app=PLAIN_APP, app_progress=False, wait="answering") as stack,
        other_gunicorn(stack) as other,
    ):
        stack.config["target"]["ready_path"] = "/health"
        if named_by == "gunicorn alone":
            del stack.config["gunicorn"]["pidfile"]
        stack.write_config()
        assert once(stack).exit_code == HEALTHY
        stack.kill_gunicorn()
        stack.gunicorn_pidfile.write_text(f"{other.pid}\n")
        ran = rounds_until(stack, RECOVERED, at_most=3)
        assert told_of_stale(ran)
        assert answers(stack)
        assert int(stack.gunicorn_pidfile.read_text()) not in (other.pid, 0)


def test_pipes_in_the_place_of_logs_and_pidfile() -> None:
    with watched(app=PLAIN_APP, app_progress=False, wait="answering") as stack:
        stack.config["target"]["ready_path"] = "/health"
        for name in ("error_log", "access_log"):
            pipe = stack.logs / f"{name}.pipe"
            os.mkfifo(pipe)
            stack.config["gunicorn"][name] = str(pipe)
        stack.write_config()
        assert once(stack).exit_code == HEALTHY
        stack.kill_gunicorn()
        stack.gunicorn_pidfile.unlink()
        os.mkfifo(stack.gunicorn_pidfile)
        ran = rounds_until(stack, RECOVERED, at_most=3)
        assert told_of_stale(ran)
        assert answers(stack)


def test_state_that_everybody_may_write_is_not_used() -> None:
    with watched(app=PLAIN_APP, app_progress=False, wait="answering") as stack:
        shared = stack.directory / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        stack.config["watchdog"]["state_file"] = str(shared / "watchdog.json")
        stack.write_config()
        ran = once(stack)
        assert ran.exit_code == 3
        assert f"everybody may write {shared}" in ran.stdout
        assert list(shared.iterdir()) == []
