"""What people meet with applications of every kind behind nginx and gunicorn, and the tests that prove each.

    python -m tests.lab.application_rows | xargs -d '\n' python -m pytest -m "" -n 2

runs all of them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

_APPLICATIONS = "tests/lab/test_applications.py::"
_GREEN = f"{_APPLICATIONS}test_the_doctor_blames_nothing"
_QUIET = f"{_APPLICATIONS}test_the_watchdog_has_nothing_to_do"
_OTHER = f"{_APPLICATIONS}test_a_server_that_is_no_gunicorn_is_named_and_left_alone"
_KILLED = f"{_APPLICATIONS}test_one_that_was_killed_is_named_and_the_watchdog_starts_it"
_LOOPS = "tests/lab/test_watchdog_any_application.py::"
_NOTHING_SERVED = "tests/lab/test_watchdog_nothing_served.py::"
_HEADERS = "tests/lab/test_private_headers.py::"
_FAULT = "tests/lab/test_faults.py::test_the_first_cause_is_the_fault"
_REPORTED = "tests/lab/test_reported.py::test_a_reported_fault_is_explained_and_a_repaired_host_is_green"
_VALUES = "tests/unit/deployment/test_values.py::"


@dataclass(frozen=True)
class Row:
    """What people meet, in one line, and the ids of the tests that prove that it is right."""

    what: str
    tests: tuple[str, ...]


def _both(name: str) -> tuple[str, str]:
    """Green to the doctor, and nothing to do for the watchdog."""
    return f"{_GREEN}[{name}]", f"{_QUIET}[{name}]"


def _each(test: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{test}[{name}]" for name in names)


ROWS = (
    Row("FastAPI, healthy, with app.python set", _both("fastapi under uvicorn's worker")),
    Row("FastAPI under gunicorn's own ASGI worker", _both("fastapi under gunicorn's own ASGI worker")),
    Row("Django, healthy, with app.python set", _both("django under sync workers")),
    Row(
        "FastAPI or Django, killed: named, and started by the watchdog",
        _each(_KILLED, "fastapi under uvicorn's worker", "django under sync workers"),
    ),
    Row("gevent workers", _both("flask under gevent")),
    Row("tornado workers", _both("flask under tornado")),
    Row("gthread workers with paths of their own", _both("flask under gthread, with paths of its own")),
    Row(
        "eventlet workers, which this gunicorn no longer has",
        (f"{_APPLICATIONS}test_a_worker_class_that_this_gunicorn_has_not_is_named_with_its_own_words",),
    ),
    Row(
        "a worker class whose package is missing", _each(_REPORTED, "package_of_the_worker_class_is_missing")
    ),
    Row(
        "time.sleep in an async handler blocks every worker: named, and mended within the deadline",
        (
            f"{_LOOPS}test_a_blocked_event_loop_is_named_by_the_doctor",
            *_each(
                f"{_NOTHING_SERVED}test_event_loops_that_all_block_are_proven_at_the_deadline_and_mended",
                "uvicorn's worker",
                "gunicorn's asgi worker",
                "gevent",
                "tornado",
            ),
        ),
    ),
    Row(
        "all workers spin: mended when nothing is served",
        _each(
            f"{_NOTHING_SERVED}test_workers_that_all_spin_are_replaced_once_nothing_is_served_for_two_deadlines",
            "sync",
            "gevent",
            "gthread",
        ),
    ),
    Row(
        "a request that awaits for ten deadlines costs no worker",
        _each(
            f"{_LOOPS}test_a_request_that_awaits_for_ten_deadlines_costs_no_worker",
            "fastapi under uvicorn's worker",
            "flask under gevent",
        ),
    ),
    Row(
        "two services, one down: the report says which it looks at, and looks at both",
        _each(_FAULT, "NET020-one_of_two_services_is_down_and_nobody_said_which_is_meant"),
    ),
    Row(
        "Django's deployment checklist: HTTPS redirect and ALLOWED_HOSTS", _both("django under sync workers")
    ),
    Row("Django DisallowedHost", _each(_REPORTED, "name_is_not_among_the_allowed_hosts")),
    Row(
        "Starlette's TrustedHostMiddleware",
        _each(_FAULT, "APP026-name_is_not_one_that_the_middleware_trusts"),
    ),
    Row(
        "Django CSRF",
        (
            *_each(_REPORTED, "every_form_is_taken_for_a_forgery"),
            *_each(_FAULT, "APP025-form_reaches_django_under_the_upstream_s_name"),
        ),
    ),
    Row(
        "a debug page of Django's", (f"{_APPLICATIONS}test_a_debug_page_of_django_s_is_no_answer_of_an_api",)
    ),
    Row("the debugger of Flask's", _each(_FAULT, "APP001-debugger_is_open", "APP001-debug_mode_is_on")),
    Row("the application's own size limit", _each(_FAULT, "APP021-application_has_a_limit_of_its_own")),
    Row("a health path that wants a key", _both("a key for the health path")),
    Row(
        "a key for the health path, configured from a file of mode 0600",
        (
            f"{_HEADERS}test_the_right_key_makes_the_service_judged_and_green",
            f"{_HEADERS}test_the_watchdog_asks_with_the_key",
        ),
    ),
    Row("a health path that redirects", _both("a health path that redirects to its slash")),
    Row("a health path that answers plain text", _both("a health path that answers plain text")),
    Row("no health path", _both("no health path")),
    Row("paths of its own, and nobody said which", _both("paths of its own, and nobody said which")),
    Row(
        "units and start lines are the running application's",
        (f"{_VALUES}test_the_unit_starts_the_running_application_as_it_was_started",),
    ),
    Row(
        "bare uvicorn: named, never killed",
        (f"{_OTHER}[uvicorn]", f"{_APPLICATIONS}test_one_that_hangs_is_left_alone_too"),
    ),
    Row("bare hypercorn: named, never killed", _each(_OTHER, "hypercorn", "hypercorn with trio")),
    Row("uWSGI: named, never killed", _each(_OTHER, "uwsgi")),
    Row("bare uvicorn is down", _each(_REPORTED, "uvicorn_by_itself_is_down")),
    Row("bare uvicorn listens at another port", _each(_FAULT, "GUN020-uvicorn_listens_at_another_port")),
)


def ids_of_tests() -> tuple[str, ...]:
    """Every test of the table, once."""
    return tuple(dict.fromkeys(test for row in ROWS for test in row.tests))


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}\n" for name in ids_of_tests()))
