"""What users' own requests show of the application, while the doctor's prediction passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, LogEntry
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, Spread
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.diagnosis.checks.test_app import RAISED
from tests.unit.made_snapshot import (
    AT_BACKEND,
    DOMAIN,
    GUNICORN_ACCESS_LOG,
    GUNICORN_CONF,
    NGINX_ACCESS_LOG,
    NOW,
    PREDICT,
    SITE,
    access_log,
    answered,
    but,
    entry,
    gunicorn_config,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
    traffic,
)

LINE = '10.0.0.7 - - [22/Nov/2026:00:59:00 +0000] "POST /predict HTTP/1.1" 500 12 "-" "client/1"'
TOO_LARGE = (
    "*1 client intended to send too large body: 9 bytes, client: 10.0.0.7, server: gte-api.example.com"
)
SERVED = answered("200", 90)
PROBE_FAILS = page(500, "Internal Server Error", **{**PREDICT, **AT_BACKEND})
NO_LOG = NotSeen(reason="no such log is configured")


def logged(path: str, *answers: Answers, **changes: Any) -> AccessLog:
    """An access log with these requests of users."""
    counted: dict[str, int] = {}
    for item in answers:
        counted[item.status] = counted.get(item.status, 0) + item.count
    return msgspec.structs.replace(access_log(path, counted), traffic=traffic(*answers, **changes))


def host(
    *answers: Answers, entries: tuple[LogEntry, ...] = (), both: bool = True, **changes: Any
) -> Snapshot:
    """gunicorn's access log has these, nginx's too unless not ``both``, gunicorn's error log those ``entries``."""
    return but(
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *answers),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *(answers if both else (SERVED,))),
        logs__gunicorn_error=gunicorn_log(*entries),
        **changes,
    )


def at_nginx(*answers: Answers, **changes: Any) -> Snapshot:
    """nginx's access log has these; gunicorn keeps none."""
    return but(logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers), logs__gunicorn_access=NO_LOG, **changes)


FAILED = answered("500", 10, newest=(LINE,))
LEFT = answered("499", 10, seconds=Spread(least=2.0, median=5.0, most=9.0), newest=(LINE,))


def left_at(path: str) -> Answers:
    """Every client of ``path`` left before the answer."""
    return msgspec.structs.replace(LEFT, path=path, method="GET")


def with_location(path: str, text: str) -> NginxConfig:
    """The site with one more location."""
    location = f"location {path} {{ {text} proxy_pass http://gte_backend; }}\n    "
    return nginx_config(
        SITE.replace("location / {\n        limit_req ", f"{location}location / {{ limit_req ")
    )


PROXIED = "    location / {\n        limit_req"
REPORTS = "    location /reports { proxy_pass http://127.0.0.1:9; }\n"
ELSEWHERE = (
    f"*7 connect() failed (111: Connection refused) while connecting to upstream, client: x, server: {DOMAIN},"
    ' request: "GET /reports HTTP/1.1", upstream: "http://127.0.0.1:9/reports", host: "x"'
)
CASES = [
    # --- APP020
    fires(
        "APP020",
        "a tenth of the predictions raise",
        host(FAILED, SERVED, entries=(entry(RAISED),)),
        "10 x POST /predict 500",
        LINE,
        "RuntimeError: 张量尺寸不符",
        severity="fail",
        facts={"count": "10", "total": "100", "path": "/predict", "where": "/root/build/app.py:42"},
    ),
    fires(
        "APP020",
        "another path than the one that is probed",
        host(
            answered("500", 1, path="/report", ago=(50, 50)),
            SERVED,
            entries=(entry(RAISED.replace("/predict", "/report"), ago=400),),
        ),
        facts={"path": "/report", "total": "1"},
    ),
    fires(
        "APP020",
        "one of thousands is a warning",
        host(answered("500", 1), answered("200", 5000), entries=(entry(RAISED),)),
        severity="warn",
    ),
    fires(
        "APP020",
        "nginx's log alone tells of it",
        at_nginx(FAILED, SERVED, logs__gunicorn_error=gunicorn_log(entry(RAISED))),
    ),
    quiet(
        "APP020",
        "the probe fails too: APP004",
        host(FAILED, entries=(entry(RAISED),), backend__predict=PROBE_FAILS),
    ),
    quiet("APP020", "a traceback and no answer that failed", host(SERVED, entries=(entry(RAISED),))),
    quiet("APP020", "answers that failed and no traceback", host(FAILED, SERVED)),
    quiet(
        "APP020",
        "the traceback is another request's",
        host(
            answered("500", 1, path="/a", ago=(500, 500)),
            SERVED,
            entries=(entry(RAISED.replace("/predict", "/b"), ago=60),),
        ),
    ),
    quiet(
        "APP020",
        "code of before the restart raised",
        but(
            host(FAILED, SERVED, entries=(entry(RAISED, ago=800),)),
            logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, FAILED, since=NOW - 700),
        ),
    ),
    # --- APP021
    fires(
        "APP021",
        "both logs have the 413, nginx's error log nothing",
        host(answered("413", 3), SERVED),
        "3 x POST /predict 413",
        "nginx let the request through",
        facts={"count": "3", "path": "/predict"},
    ),
    fires("APP021", "nginx's log alone", at_nginx(answered("413", 3, newest=(LINE,)), SERVED), LINE),
    fires(
        "APP021",
        "some by nginx, more than nginx refused",
        at_nginx(answered("413", 3), logs__nginx_errors=nginx_logs(entry(TOO_LARGE))),
    ),
    quiet(
        "APP021",
        "nginx refused: NGX009",
        but(
            host(SERVED),
            logs__nginx_access=logged(NGINX_ACCESS_LOG, answered("413", 1)),
            logs__nginx_errors=nginx_logs(entry(TOO_LARGE)),
        ),
    ),
    quiet(
        "APP021",
        "nginx refused, and the service keeps no log",
        at_nginx(answered("413", 1), logs__nginx_errors=nginx_logs(entry(TOO_LARGE))),
    ),
    quiet("APP021", "another site's, in a log both write to", at_nginx(SERVED)),
    # --- APP022
    fires(
        "APP022",
        "gunicorn's own limit of the request line",
        host(
            answered("400", 2),
            SERVED,
            entries=(
                entry(
                    "Invalid request from ip=127.0.0.1: Request Line is too large (5000 > 4094)",
                    level="warning",
                ),
            ),
        ),
        "5000 > 4094",
        facts={"count": "1", "setting": "limit_request_line", "limit": "4094"},
    ),
    fires(
        "APP022",
        "headers",
        host(
            SERVED, entries=(entry("Invalid request from ip=127.0.0.1: limit request headers fields size"),)
        ),
        facts={"setting": "limit_request_field_size", "limit": "8190"},
    ),
    fires(
        "APP022",
        "too many headers",
        host(SERVED, entries=(entry("Invalid request from ip=127.0.0.1: limit request headers fields"),)),
        facts={"setting": "limit_request_fields", "limit": "100"},
    ),
    quiet(
        "APP022",
        "bytes of a scanner",
        host(SERVED, entries=(entry("Invalid request from ip=10.0.0.9: Invalid Request Line '\\x16\\x03'"),)),
    ),
    quiet(
        "APP022",
        "a scanner's bytes at uvicorn",
        host(SERVED, entries=(entry("Invalid HTTP request received."),)),
    ),
    # --- APP023
    fires(
        "APP023",
        "one in ten leaves after five seconds",
        at_nginx(LEFT, SERVED),
        "10 x POST /predict 499",
        severity="warn",
        facts={"count": "10", "total": "100", "path": "POST /predict", "waited": "5.0 s"},
    ),
    fires("APP023", "most leave", at_nginx(LEFT, answered("200", 5)), severity="fail"),
    fires(
        "APP023",
        "the format tells no times, the share is large",
        at_nginx(answered("499", 10), answered("200", 60)),
    ),
    quiet("APP023", "a browser was closed", at_nginx(answered("499", 2), answered("200", 4))),
    quiet(
        "APP023", "few of many", at_nginx(answered("499", 10, seconds=LEFT.seconds), answered("200", 4000))
    ),
    quiet(
        "APP023",
        "pages that were left at once",
        at_nginx(answered("499", 10, seconds=Spread(least=0.0, median=0.02, most=4.0)), answered("200", 60)),
    ),
    *(
        quiet("APP023", f"all leave {path}, as its clients do", at_nginx(left_at(path)))
        for path in ("/poll", "/api/events", "/v1/chat/stream", "/socket.io/", "/jobs/*/updates")
    ),
    quiet(
        "APP023",
        "the route was switched to a WebSocket for others",
        at_nginx(left_at("/chat"), answered("101", 3, path="/chat", method="GET")),
    ),
    quiet(
        "APP023",
        "nginx has a location of its own for a stream",
        at_nginx(left_at("/feed"), nginx_config=with_location("/feed", "proxy_buffering off;")),
    ),
    fires(
        "APP023",
        "a location of its own for long answers is none for streams",
        at_nginx(left_at("/report"), nginx_config=with_location("/report", "proxy_read_timeout 20m;")),
    ),
    fires("APP023", "a page that all leave", at_nginx(left_at("/report"))),
    fires(
        "APP023",
        "the prediction's own route is never held open",
        but(at_nginx(left_at("/stream"), SERVED), target__predict_path="/stream"),
    ),
    # --- APP024
    fires(
        "APP024",
        "500 and nothing says why",
        at_nginx(FAILED, SERVED),
        "10 x POST /predict 500",
        LINE,
        severity="warn",
        facts={"count": "10", "total": "100", "path": "POST /predict", "statuses": "500"},
    ),
    fires(
        "APP024",
        "502 among successes",
        at_nginx(
            answered("502", 4),
            SERVED,
            logs__nginx_errors=nginx_logs(entry("*7 something new, client: x", ago=2)),
        ),
        "*7 something new",
    ),
    fires(
        "APP024",
        "nobody listens where the location sends them",
        but(
            at_nginx(
                answered("502", 4, path="/reports"),
                SERVED,
                logs__nginx_errors=nginx_logs(entry(ELSEWHERE, ago=2)),
            ),
            nginx_config=nginx_config(SITE.replace(PROXIED, f"{REPORTS}{PROXIED}")),
        ),
        "proxy_pass http://127.0.0.1:9",
    ),
    fires("APP024", "502 on one path that never works", at_nginx(answered("502", 2, path="/upload"), SERVED)),
    fires(
        "APP024",
        "the service answers 503 to most",
        host(answered("503", 6, path="/db"), answered("200", 2, path="/db"), SERVED),
    ),
    quiet(
        "APP024",
        "4xx of scanners, keys and limits",
        at_nginx(
            *(answered(s, 50) for s in ("400", "401", "403", "404", "405", "413", "422", "429")), SERVED
        ),
    ),
    quiet("APP024", "one 502 alone", at_nginx(answered("502", 1), SERVED)),
    quiet(
        "APP024",
        "a deployment: a row of 502 with only successes behind it",
        at_nginx(answered("502", 9, ago=(400, 395)), answered("200", 90, ago=(390, 2))),
    ),
    quiet(
        "APP024",
        "a balancer that waited until the service was ready",
        host(answered("503", 6, path="/ready", followed=2), answered("200", 2, path="/ready"), SERVED),
    ),
    fires(
        "APP024",
        "it is still not ready",
        host(answered("503", 6, path="/ready"), answered("200", 2, path="/ready"), SERVED),
    ),
    quiet("APP024", "503 under load, some of many", host(answered("503", 30), SERVED)),
    quiet(
        "APP024",
        "503 of nginx's own: a limit, a maintenance page",
        at_nginx(answered("503", 90), answered("200", 1)),
    ),
    quiet("APP024", "one in many thousands", at_nginx(answered("500", 1), answered("200", 5000))),
    quiet(
        "APP024",
        "another application's, in a shared log",
        but(
            logs__nginx_access=logged(NGINX_ACCESS_LOG, FAILED, is_shared=True), logs__gunicorn_access=NO_LOG
        ),
    ),
    quiet("APP024", "clients that leave", at_nginx(answered("499", 50), SERVED)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def _long(words: str, **assigned: object) -> list[str]:
    """The commands of APP022 for a refusal in these words, with these settings in gunicorn's file."""
    snapshot = host(
        SERVED,
        entries=(entry(f"Invalid request from ip=127.0.0.1: {words}", level="warning"),),
        gunicorn__config=gunicorn_config(workers=2, **assigned),
    )
    cause = next(cause for cause in diagnose(snapshot, CHECKS).causes if cause.code == "APP022")
    return [step.en for step in cause.fix]


def test_the_limit_of_the_request_line_is_raised_where_it_stands_or_added() -> None:
    words = "Request Line is too large (5000 > 4094)"
    assert _long(words)[0] == f"printf '\\nlimit_request_line = 8190\\n' >>{GUNICORN_CONF}"
    present = _long(words, limit_request_line=4094)
    assert present[0] == f"sed -i --follow-symlinks '2s#=.*#= 8190#' {GUNICORN_CONF}"


def test_the_number_of_headers_goes_back_to_gunicorn_s_default() -> None:
    words = "limit request headers fields"
    assert (
        _long(words, limit_request_fields=2)[0] == f"sed -i --follow-symlinks '2s#=.*#= 100#' {GUNICORN_CONF}"
    )
    for assigned in ({}, {"limit_request_fields": 200}):
        assert _long(words, **assigned)[0].startswith("Set limit_request_fields in ")


def test_what_no_limit_lets_in_is_left_to_a_person() -> None:
    assert _long("Request Line is too large (9000 > 4094)")[0].startswith("Set limit_request_line in ")
    assert _long("limit request headers fields size")[0].startswith("Set limit_request_field_size in ")
