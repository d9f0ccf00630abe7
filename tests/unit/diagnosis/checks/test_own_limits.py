"""Limits of the framework, the server and the process that requests run into, and variables without a value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks.app_files import process_limit
from ops.facts.base import NotSeen
from ops.facts.logs import LogEntry
from ops.facts.machine import Machine, OpenFiles
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, Spread
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_ACCESS_LOG,
    GUNICORN_WORKERS,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_CONF,
    PREDICT,
    SITE,
    SITE_FILE,
    TARGET,
    answered,
    but,
    entry,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
)


def spread(length: float, most: float | None = None) -> Spread:
    return Spread(least=length, median=length, most=length if most is None else most)


def host(*answers: Answers, said: tuple[LogEntry, ...] = (), max_body: str = "", **changes: Any) -> Snapshot:
    """Both access logs have these, the service's log ``said``, and nginx takes bodies up to ``max_body``."""
    site = (
        SITE.replace("limit_req zone=", f"client_max_body_size {max_body}; limit_req zone=")
        if max_body
        else SITE
    )
    return but(
        nginx_config=nginx_config(site),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *answers),
        logs__gunicorn_error=gunicorn_log(*said),
        **changes,
    )


PAGE = answered("400", 3, sent=spread(143))
SERVED = answered("200", 3, lengths=spread(900))
REFUSED_LONG = answered("400", 3, lengths=spread(3_000_000))
EXCEEDED = "Exceeded concurrency limit."
FULL = page(503, "Service Unavailable", **{**PREDICT, **AT_BACKEND})


def with_map(text: str, proxy_pass: str = "http://$pool", inside: str = "") -> Snapshot:  # noqa: S107
    """nginx fails a request because the variable of proxy_pass is empty; ``text``: what defines it."""
    site = SITE.replace(
        "        proxy_pass http://gte_backend;", f"        {inside}proxy_pass {proxy_pass};", 1
    )
    line = (
        '*3 invalid URL prefix in "http://", client: 10.0.0.7, server: gte-api.example.com, '
        'request: "POST /predict HTTP/1.1", host: "gte-api.example.com"'
    )
    return but(
        nginx_config=nginx_config(f"{text}\n{site}"),
        logs__nginx_errors=nginx_logs(entry(line)),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, answered("500", 3)),
        front__predict=page(500, "500", **PREDICT),
    )


MAP = "map $http_x_select $pool {{ blue gte_backend; {}}}"
CASES: list[Case] = [
    # --- the framework's limit, answered 400
    fires(
        "APP021",
        "Django's page, where nginx takes more than Django",
        host(PAGE, SERVED, max_body="20m"),
        "client_max_body_size 20m",
        severity="fail",
    ),
    fires("APP021", "its share is small", host(PAGE, answered("200", 90), max_body="20m"), severity="warn"),
    quiet("APP021", "nginx takes no more than Django", host(PAGE, SERVED, max_body="2m")),
    quiet("APP021", "nginx takes 1 MB by default", host(PAGE, SERVED)),
    quiet("APP021", "nothing is served there: it is no limit", host(PAGE, max_body="20m")),
    quiet(
        "APP021",
        "answers of several lengths say what is wrong with each",
        host(answered("400", 3, sent=spread(100, 190)), SERVED, max_body="20m"),
    ),
    quiet(
        "APP021",
        "a page is asked for",
        host(answered("400", 3, sent=spread(143), method="GET"), SERVED, max_body="20m"),
    ),
    fires(
        "APP021",
        "all that are refused are longer than all that are served",
        host(REFUSED_LONG, SERVED),
        "refused from 3000000 bytes on, served up to 900 bytes",
        severity="fail",
    ),
    quiet(
        "APP021",
        "long ones are served too",
        host(REFUSED_LONG, answered("200", 3, lengths=spread(900, 4_000_000))),
    ),
    quiet("APP021", "short ones are refused", host(answered("400", 3, lengths=spread(700)), SERVED)),
    *(
        fires("APP021", words, host(answered("400", 3), SERVED, said=(entry(words),)), words)
        for words in (
            "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE",
            "parameters exceeded settings.DATA_UPLOAD_MAX_NUMBER_FIELDS",
            "Too many fields. Maximum number of fields is 1000",
            "Part exceeded maximum size of 1024KB",
        )
    ),
    quiet(
        "APP021",
        "the framework said so at another time",
        host(
            answered("400", 3, ago=(60, 2)),
            SERVED,
            said=(entry("Part exceeded maximum size of 1024KB", ago=500),),
        ),
    ),
    # --- the server's limit
    fires(
        "GUN021",
        "the doctor alone is one too many",
        host(said=(entry(EXCEEDED),), backend__predict=FULL),
        "Exceeded concurrency limit.",
        severity="fail",
        facts={"count": "1", "setting": "limit_concurrency"},
    ),
    fires(
        "GUN021",
        "most users are refused",
        host(answered("503", 6), answered("200", 4), said=(entry(EXCEEDED),)),
    ),
    quiet(
        "GUN021",
        "a few are refused under load",
        host(answered("503", 6), answered("200", 90), said=(entry(EXCEEDED),)),
    ),
    quiet("GUN021", "503 for another reason", host(answered("503", 6), backend__predict=FULL)),
    quiet(
        "GUN021",
        "before the workers were started",
        host(answered("503", 6), said=(entry(EXCEEDED, ago=5000),)),
    ),
    # --- a variable without a value
    fires(
        "NGX060",
        "a map without a default",
        with_map(MAP.format("")),
        f"{SITE_FILE}:1 map $http_x_select $pool has no default",
    ),
    fires(
        "NGX060",
        "a set inside an if alone",
        with_map("", inside="if ($arg_blue) { set $pool gte_backend; } "),
        "$pool is set inside an if alone",
    ),
    # --- the process's limit
    fires(
        "APP020",
        "too many open files",
        but(
            host(
                answered("500", 5, path="/report"),
                answered("200", 5),
                said=(
                    entry(
                        "Error handling request /report\nTraceback (most recent call last):\n"
                        '  File "/root/build/app.py", line 16, in report\n'
                        "OSError: [Errno 24] Too many open files: '/root/build/app.py'"
                    ),
                ),
            ),
            machine__open_files=(OpenFiles(pid=GUNICORN_WORKERS[0], process="gunicorn", soft=100, used=9),),
        ),
        "/proc/901/limits Max open files 100",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def steps(snapshot: Snapshot, code: str) -> str:
    return "\n".join(s if isinstance(s, str) else s.en for s in found(snapshot)[code].fix or ())


def test_the_map_gets_the_only_upstream_for_all_others() -> None:
    assert f"1a default gte_backend;' {SITE_FILE}" in steps(with_map(MAP.format("")), "NGX060")
    assert NGINX_CONF not in steps(with_map(MAP.format("default other; ")), "NGX060")
    assert "default" not in steps(with_map(MAP.format("default other; ")), "NGX060")


@pytest.mark.parametrize(
    ("exception", "words"),
    [
        ("OSError: [Errno 24] Too many open files: '/x'", "LimitNOFILE"),
        ("psycopg2.OperationalError: could not open: Too many open files", "LimitNOFILE"),
        ("OSError: [Errno 23] Too many open files in system: '/x'", "fs.file-max"),
        ("RuntimeError: can't start new thread", "TasksMax"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "TasksMax"),
        ("MemoryError: Unable to allocate 3.1 GiB", "MemoryMax"),
        ("OSError: [Errno 12] Cannot allocate memory", "MemoryMax"),
    ],
)
def test_each_limit_of_a_process_has_its_setting(exception: str, words: str) -> None:
    limit = process_limit(exception, NotSeen(reason="-"), TARGET)
    assert limit is not None
    assert words in str(limit.fix[0])


@pytest.mark.parametrize(
    "exception", ["KeyError: 24", "PermissionError: [Errno 13] Permission denied: '/x'", "ValueError: files"]
)
def test_other_exceptions_are_no_limit(exception: str) -> None:
    assert process_limit(exception, NotSeen(reason="-"), TARGET) is None


def test_the_limit_of_another_process_is_no_proof() -> None:
    assert isinstance(HEALTHY.machine, Machine)
    machine = msgspec.structs.replace(
        HEALTHY.machine, open_files=(OpenFiles(pid=77, process="nginx", soft=100),)
    )
    limit = process_limit("OSError: [Errno 24] Too many open files", machine, TARGET)
    assert limit is not None
    assert limit.evidence == ()
