"""Healthy applications of other frameworks, workers and servers: nothing to blame, and nothing to do."""

from __future__ import annotations

import pytest

from tests.lab.applications import (
    APPLICATIONS,
    DJANGO,
    FLASK,
    OTHER_SERVERS,
    Application,
    OtherServer,
    other_server,
    write_minimal_config,
)
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_the_doctor_blames_nothing(application: Application) -> None:
    with application.stack() as stack:
        write_minimal_config(stack, application)
        ran = stack.doctor()
        assert ran.codes == [], ran.stdout
        assert ran.report["symptoms"] == []
        assert ran.exit_code == 0, ran.stdout


# One of each loop and one health path of each kind; the others as `long`.
_SAMPLE = (
    "fastapi under uvicorn's worker",
    "django under sync workers",
    "no health path",
    "a key for the health path",
)


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(each, id=each.name, marks=() if each.name in _SAMPLE else pytest.mark.long)
        for each in APPLICATIONS
    ],
)
def test_the_watchdog_has_nothing_to_do(application: Application) -> None:
    with application.stack() as stack:
        write_minimal_config(stack, application)
        before = {process.pid for process in stack.gunicorn_workers}
        ran = stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
        assert ran.exit_code == 0, ran.stdout + ran.stderr
        assert {process.pid for process in stack.gunicorn_workers} == before


_ONCE = ("uvicorn", "hypercorn")


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(
            each,
            id=f"{each.name} with trio" if "trio" in each.command else each.name,
            marks=pytest.mark.long if "trio" in each.command or each.name not in _ONCE else (),
        )
        for each in OTHER_SERVERS
    ],
)
def test_a_server_that_is_no_gunicorn_is_named_and_left_alone(server: OtherServer) -> None:
    with other_server(server) as (stack, process):
        doctor = stack.doctor()
        assert (doctor.codes, doctor.exit_code) == ([], 0), doctor.stdout
        named = [
            check["skipped_because"] for check in doctor.report["checks"] if check["id"] == "gunicorn.master"
        ]
        assert named
        assert f"is served by {server.name} (pid " in named[0]
        ran = stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
        assert ran.exit_code == 0, ran.stdout + ran.stderr
        assert process.is_running()


def test_one_that_hangs_is_left_alone_too() -> None:
    with other_server(OTHER_SERVERS[0]) as (stack, process):
        process.suspend()
        for _ in range(4):
            ran = stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
            assert ran.exit_code == 2, ran.stdout + ran.stderr
        assert "served by uvicorn" in ran.stdout
        process.resume()
        assert process.is_running()
        assert stack.gunicorn_master is None


@pytest.mark.long
@pytest.mark.parametrize("application", APPLICATIONS[:3:2], ids=lambda application: application.name)
def test_one_that_was_killed_is_named_and_the_watchdog_starts_it(application: Application) -> None:
    with application.stack() as stack:
        write_minimal_config(stack, application)
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        healthy = stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
        assert healthy.exit_code == 0, healthy.stdout + healthy.stderr
        stack.kill_gunicorn()
        assert stack.doctor().first == "GUN001"
        wait_for(lambda: _is_started(stack), "the watchdog to start it", within=60, every=0.5)
        assert stack.predict().status == 200


def _is_started(stack: Stack) -> bool:
    ran = stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
    return ran.exit_code == 0 and stack.predict().status == 200


@pytest.mark.long
def test_a_worker_class_that_this_gunicorn_has_not_is_named_with_its_own_words() -> None:
    with Stack(app=FLASK, worker_class="eventlet", wait="nothing") as stack:
        wait_for(lambda: stack.gunicorn_master is None, "gunicorn to end", within=30)
        ran = stack.doctor()
        assert ran.first == "GUN001", ran.stdout
        assert "eventlet" in str(ran.report["causes"][0]["evidence"]), ran.stdout


@pytest.mark.long
def test_a_debug_page_of_django_s_is_no_answer_of_an_api() -> None:
    source = DJANGO.replace("settings.configure(", "settings.configure(\n    DEBUG=True,", 1).replace(
        'return JsonResponse({"result": json.loads(request.body)})', 'raise ValueError("no such label")'
    )
    with Stack(app=source, worker_class="sync") as stack:
        answer = stack.predict()
        assert (answer.status, answer.content_type) == (500, "text/html")
        ran = stack.doctor()
        assert ran.first in ("APP001", "APP004"), ran.stdout
        assert "no such label" in ran.stdout
