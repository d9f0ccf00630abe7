"""Healthy applications of other frameworks, workers and servers: nothing to blame, and nothing to do."""

from __future__ import annotations

import pytest

from tests.lab.applications import (
    APPLICATIONS,
    OTHER_SERVERS,
    Application,
    other_server,
    write_minimal_config,
)


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


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(each, id=" ".join(each[:4:3]), marks=pytest.mark.long if "trio" in each else ())
        for each in OTHER_SERVERS
    ],
)
def test_a_server_that_is_no_gunicorn_is_named_and_left_alone(server: tuple[str, ...]) -> None:
    with other_server(server) as (stack, process):
        doctor = stack.doctor()
        assert (doctor.codes, doctor.exit_code) == ([], 0), doctor.stdout
        named = [
            check["skipped_because"] for check in doctor.report["checks"] if check["id"] == "gunicorn.master"
        ]
        assert named
        assert f"is served by {server[0]} (pid " in named[0]
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
