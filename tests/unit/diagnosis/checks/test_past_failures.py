"""A repaired host is green at once, and one that still fails is not: which failures tell nothing of what runs now."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.files import AccessStep, Reader
from ops.facts.logs import LogEntry
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, LoggedRequest, RefusedFile
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.diagnosis.checks.test_app import RAISED
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    GUNICORN_WORKERS,
    NGINX_ACCESS_LOG,
    NGINX_WORKER,
    NOW,
    answered,
    but,
    entry,
    gunicorn_log,
    nginx_logs,
)

START = NOW - 10
# A line of the very second in which the workers were started.
THEN = (10.0, 10.0)
OLD_WORKER = 17
FULL = RAISED.replace("RuntimeError: 张量尺寸不符", "OSError: [Errno 28] No space left on device")
LOCKED = RAISED.replace("RuntimeError: 张量尺寸不符", "sqlite3.OperationalError: database is locked")
REDIS = RAISED.replace("RuntimeError: 张量尺寸不符", "redis.exceptions.ConnectionError: Error 111 connecting")
THREADS = RAISED.replace("RuntimeError: 张量尺寸不符", "RuntimeError: can't start new thread")
MEMORY = RAISED.replace("RuntimeError: 张量尺寸不符", "MemoryError")
BODY = "/var/lib/nginx/body"
REFUSED = (
    f'*1 open() "{BODY}/0000000001" failed (2: No such file or directory), client: 10.0.0.7, '
    'server: gte-api.example.com, request: "POST /predict?q=1 HTTP/1.1"'
)
NO_SERVICE = (
    "*1 connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.7, "
    'server: gte-api.example.com, request: "POST /predict HTTP/1.1", upstream: "http://127.0.0.1:8000/predict"'
)


def host(
    *answers: Answers,
    since: float = NOW - 900,
    entries: tuple[LogEntry, ...] = (),
    by_nginx: tuple[LogEntry, ...] = (),
    probes: tuple[LoggedRequest, ...] = (),
    **changes: Any,
) -> Snapshot:
    """Both access logs have these ``answers`` since the workers were started; ``entries``: gunicorn's error log."""
    return but(
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *answers, since=since, probes=probes),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers, since=since, probes=probes),
        logs__gunicorn_error=gunicorn_log(*entries),
        logs__nginx_errors=nginx_logs(*by_nginx),
        **changes,
    )


def body_directory(*, changed: float, missing: str | None = None) -> RefusedFile:
    return RefusedFile(
        path=f"{BODY}/0000000001",
        error=2,
        entry=REFUSED,
        log="/var/log/nginx/gte-error.log",
        count=1,
        last=NOW - 60,
        steps=(
            AccessStep(path="/var/lib/nginx", is_directory=True, uid=0, gid=0, mode=0o755, changed=changed),
            *(
                ()
                if missing
                else (AccessStep(path=BODY, is_directory=True, uid=33, gid=33, mode=0o700, changed=changed),)
            ),
        ),
        missing=missing,
        reader=Reader(pid=NGINX_WORKER, user="www-data", uid=33, gids=(33,)),
    )


def probe(status: str) -> LoggedRequest:
    return LoggedRequest(time=NOW - 1, method="POST", path="/predict", status=status, line="")


AT_THE_START = answered("500", 3, ago=THEN, followed=2)
SERVED = answered("200", 2, ago=THEN)

CASES = [
    # --- the very second of the start
    quiet(
        "APP024",
        "failures in the second of the start, successes behind them",
        host(AT_THE_START, SERVED, since=START),
    ),
    fires("APP024", "no success behind them", host(answered("500", 3, ago=THEN), since=START)),
    fires(
        "APP024",
        "one of them a second later",
        host(answered("500", 3, ago=(10.0, 9.0), followed=2), SERVED, since=START),
    ),
    fires(
        "APP024",
        "a worker of now complained of it",
        host(AT_THE_START, SERVED, since=START, by_nginx=(entry(REFUSED, ago=10, pid=NGINX_WORKER),)),
    ),
    quiet(
        "APP024",
        "nginx, which was not restarted, complained of the service before",
        host(AT_THE_START, SERVED, since=START, by_nginx=(entry(NO_SERVICE, ago=10, pid=NGINX_WORKER),)),
    ),
    fires(
        "APP024",
        "nginx complained of the service, and no success is behind it",
        host(
            answered("500", 3, ago=THEN),
            since=START,
            by_nginx=(entry(NO_SERVICE, ago=10, pid=NGINX_WORKER),),
        ),
    ),
    fires(
        "APP020",
        "nginx complained of the service, and a worker of now raised",
        host(
            AT_THE_START,
            SERVED,
            since=START,
            by_nginx=(entry(NO_SERVICE, ago=10, pid=NGINX_WORKER),),
            entries=(entry(RAISED, ago=10, pid=GUNICORN_WORKERS[0]),),
        ),
    ),
    quiet(
        "APP024",
        "a worker that is gone complained of it",
        host(
            answered("500", 3, ago=THEN),
            since=START,
            by_nginx=(entry(REFUSED, ago=10, pid=OLD_WORKER),),
        ),
    ),
    quiet(
        "APP020",
        "a worker that is gone raised",
        host(answered("500", 3, ago=THEN), since=START, entries=(entry(RAISED, ago=10, pid=OLD_WORKER),)),
    ),
    fires(
        "APP020",
        "a worker of now raised",
        host(AT_THE_START, SERVED, since=START, entries=(entry(RAISED, ago=10, pid=GUNICORN_WORKERS[0]),)),
    ),
    fires(
        "APP020",
        "nobody knows which worker raised, and it went on",
        host(answered("500", 3, ago=(10.0, 5.0)), since=START, entries=(entry(RAISED, ago=5),)),
    ),
    # --- what lies outside the application
    *(
        quiet(code, f"{words} and has ended", host(answered("500", 9, followed=9), entries=(entry(text),)))
        for code in ("APP020", "APP024")
        for words, text in (
            ("the disk was full", FULL),
            ("a table was locked", LOCKED),
            ("redis", REDIS),
            ("no thread was to be had", THREADS),
            ("no memory was to be had", MEMORY),
        )
    ),
    fires(
        "APP020",
        "the disk was full, and one success since proves nothing",
        host(answered("500", 3, followed=1), entries=(entry(FULL),)),
    ),
    fires(
        "APP020",
        "a tenth of the requests fail, and nine good ones in a row are chance",
        host(answered("500", 10, followed=9), answered("200", 99), entries=(entry(LOCKED),)),
    ),
    quiet(
        "APP020",
        "a whole day went well before it",
        host(
            answered("500", 10, followed=9, preceded=990),
            answered("200", 999),
            entries=(entry(LOCKED),),
        ),
    ),
    fires(
        "APP020",
        "code that raises is not mended by other inputs",
        host(answered("500", 3, followed=90), answered("200", 90), entries=(entry(RAISED),)),
    ),
    fires(
        "APP020",
        "the doctor's own request failed since",
        host(answered("500", 3, followed=90), entries=(entry(FULL),), probes=(probe("500"),)),
    ),
    quiet(
        "APP020",
        "hardly a user came since: the doctor's own requests count",
        host(answered("500", 3, followed=2), entries=(entry(FULL),), probes=(probe("200"),)),
    ),
    # --- nginx's files
    quiet(
        "APP024",
        "the directory was made since",
        host(
            answered("500", 1),
            by_nginx=(entry(REFUSED, level="crit"),),
            logs__refused_files=(body_directory(changed=NOW - 30),),
        ),
    ),
    fires(
        "APP024",
        "nothing was changed on the way there: something else denies it",
        host(
            answered("500", 1),
            by_nginx=(entry(REFUSED, level="crit"),),
            logs__refused_files=(body_directory(changed=NOW - 3000),),
        ),
    ),
    fires(
        "APP024",
        "more requests fail than nginx has lines of it",
        host(
            answered("500", 2),
            by_nginx=(entry(REFUSED, level="crit"),),
            logs__refused_files=(body_directory(changed=NOW - 30),),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
