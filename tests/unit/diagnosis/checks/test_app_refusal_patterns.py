"""Refusals by their pattern: who is refused, by which method, and what one address is told in turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.collect.logs.line import Request
from ops.collect.logs.request_patterns import RequestPatterns
from ops.facts.base import NotSeen
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import AllowedOrigin, Answers
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    HEALTHY,
    NGINX_PROCESSES,
    NOW,
    access_log,
    but,
    processes,
    traffic,
)

BAD = AllowedOrigin(
    setting="allow_origins", where="/srv/shop/app.py:7", origin="https://shop.example/", is_well_formed=False
)
GOOD = AllowedOrigin(
    setting="allow_origins", where="/srv/shop/app.py:7", origin="https://shop.example", is_well_formed=True
)


def answers(method: str, path: str, status: str, count: int = 6, **more: Any) -> Answers:
    return Answers(
        method=method, path=path, status=status, count=count, first=NOW - 60, last=NOW - 5,
        newest=(f'203.0.113.9 "{method} {path} HTTP/1.1" {status}',), **more,
    )  # fmt: skip


def logged(
    front: tuple[Answers, ...], own: tuple[Answers, ...], origins: tuple[AllowedOrigin, ...] = ()
) -> Snapshot:
    return but(
        HEALTHY,
        logs__nginx_access=access_log("/var/log/nginx/access.log", {}, traffic=traffic(*front)),
        logs__gunicorn_access=access_log("/var/log/gunicorn/access.log", {}, traffic=traffic(*own)),
        logs__allowed_origins=origins,
    )


ASKED = answers("OPTIONS", "/predict", "400")
JOB = answers("GET", "/jobs/*", "404", alternating=5)
LIMITED = answers("GET", "/quote", "429", clients=12)
SHARED = logged((LIMITED,), (answers("GET", "/quote", "429", clients=1),))
OWN = [
    msgspec.structs.replace(p, command=("/opt/venv/bin/gunicorn", "-c", "python:service.gunicorn_conf"))
    if p.pid == GUNICORN_MASTER
    else p
    for p in GUNICORN_PROCESSES
]
POLL = answers("GET", "/socket.io/", "400", alternating=5)
UNTYPED = answers("PUT", "/notes", "415", clients=1)
LACKING = answers("POST", "/members", "422", clients=5)
ALL_UNTYPED = answers("POST", "/notes", "415", clients=4)
FEW = answers("POST", "/x", "415", 3)
FROM_ONE = answers("POST", "/members", "422", clients=1)
CASES = [
    fires(
        "APP030", "an origin ends with a slash", logged((ASKED,), (ASKED,), (GOOD, BAD)), "/srv/shop/app.py:7",
        severity="warn", facts={"wanted": "https://shop.example", "count": "6"},
    ),
    fires(
        "APP030", "an origin lacks its scheme",
        logged((ASKED,), (ASKED,), (AllowedOrigin("origins", "/srv/a.py:2", "shop.example:3000", False),)),
        facts={"wanted": "https://shop.example:3000"},
    ),
    quiet("APP030", "the origins are well formed: a stranger's page asks", logged((ASKED,), (ASKED,), (GOOD,))),
    fires(
        "APP030", "the service's log has no times, and nginx passes the path on",
        but(logged((ASKED,), (), (BAD,)), logs__gunicorn_access=NotSeen(reason="no times")),
    ),
    quiet("APP030", "nginx refuses by itself", logged((ASKED,), (), (BAD,))),
    quiet(
        "APP030", "others are let in",
        logged((ASKED, answers("OPTIONS", "/predict", "200", 4)), (ASKED,), (BAD,)),
    ),
    quiet("APP030", "two are a scanner's", logged((answers("OPTIONS", "/predict", "400", 2),), (ASKED,), (BAD,))),
    fires(
        "APP031", "one address is told 404 in turn", logged((JOB,), (JOB,)), "/jobs/*",
        severity="warn", facts={"count": "5", "status": "404"},
    ),
    fires(
        "APP035", "a program names no media type", logged((UNTYPED, answers("PUT", "/notes", "200", 9)), (UNTYPED,)),
        "PUT /notes", severity="warn", facts={"status": "415", "count": "6", "total": "15"},
    ),
    fires("APP035", "everybody leaves out a field", logged((LACKING,), (LACKING,)), facts={"status": "422"}),
    fires(
        "APP035", "the service's log has no times, and nginx passes the path on",
        but(logged((LACKING,), ()), logs__gunicorn_access=NotSeen(reason="no times")),
    ),
    quiet("APP035", "a scanner's six of many", logged((UNTYPED, answers("PUT", "/notes", "200", 99)), (UNTYPED,))),
    quiet("APP035", "a scanner alone asks for it", logged((UNTYPED,), (UNTYPED,))),
    *(
        fires("APP035", f"{path} is nobody's way in", logged((each,), (each,)))
        for path in ("/tokenize", "/authors", "/footprints")
        for each in (answers("POST", path, "422", clients=5),)
    ),
    fires("APP035", "all of them lack the type", logged((ALL_UNTYPED,), (ALL_UNTYPED,)), facts={"status": "415"}),
    *(
        quiet("APP035", f"strangers knock at {path} {status}", logged((each,), (each,)))
        for path, status in (("/login", "400"), ("/api/v1/auth/token", "422"), ("/wp-json/x", "415"))
        for each in (answers("POST", path, status, 400, clients=5),)
    ),
    quiet("APP035", "some mistype", logged((LACKING, answers("POST", "/members", "200", 9)), (LACKING,))),
    quiet("APP035", "one visitor tries", logged((FROM_ONE,), (FROM_ONE,))),
    quiet("APP035", "nginx refuses by itself", logged((LACKING,), ())),
    quiet("APP035", "a scanner's three", logged((FEW,), (FEW,))),
    fires(
        "APP031", "a session is unknown in turn", logged((POLL,), (POLL,)), "/socket.io/", facts={"status": "400"},
    ),
    *(
        quiet("APP031", f"a visitor is told {status}", logged((answers("GET", "/me", status, alternating=5),),
                                                               (answers("GET", "/me", status),)))
        for status in ("401", "403", "302")
    ),
    quiet(
        "APP030", "a desktop program's scheme",
        logged((ASKED,), (ASKED,), (AllowedOrigin("origins", "/srv/a.py:2", "app://obsidian.md", False),)),
    ),
    quiet("APP031", "addresses that are not there", logged((answers("GET", "/wp-login.php", "404", 90),),
                                                           (answers("GET", "/wp-login.php", "404", 90),))),
    quiet("APP031", "nginx answers 404 by itself", logged((JOB,), ())),
    quiet("APP031", "once may be chance", logged((answers("GET", "/jobs/*", "404", alternating=1),), (JOB,))),
    fires(
        "APP032", "twelve visitors share one limit",
        logged((LIMITED,), (answers("GET", "/quote", "429", clients=1),)), severity="warn",
        facts={"visitors": "12"},
    ),
    quiet(
        "APP032", "nginx made most of the refusals",
        logged((answers("GET", "/quote", "429", 90, clients=12),), (answers("GET", "/quote", "429", 1, clients=1),)),
    ),
    quiet(
        "APP032", "its source reads the visitor's address",
        but(SHARED, logs__forwarded_reads=("/srv/shop/app.py:3",)),
    ),
    quiet("APP032", "its source was not seen", but(SHARED, target__app_dir="")),
    quiet("APP032", "this project's own service", but(SHARED, processes=processes(NGINX_PROCESSES, OWN))),
    quiet("APP032", "the service sees them", logged((LIMITED,), (answers("GET", "/quote", "429", clients=12),))),
    quiet("APP032", "one visitor asks too much", logged((answers("GET", "/quote", "429", clients=1),),
                                                        (answers("GET", "/quote", "429", clients=1),))),
    quiet("APP032", "nginx limits by itself", logged((LIMITED,), ())),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def told(*requests: tuple[str, str, str, float]) -> int:
    """How many refusals are proven to stand between two good answers; the requests as they came."""
    patterns = RequestPatterns()
    blank = dict.fromkeys(Request._fields, b"")
    proven = 0
    for client, method, status, at in reversed(requests):
        client, _, agent = client.partition("/")
        words = {"client": client, "agent": agent, "method": method, "path": "/jobs/7", "status": status}
        said = blank | {name: word.encode() for name, word in words.items()}
        proven += patterns.add(Request(**(said | {"time": at})), 1)  # type: ignore[arg-type]
    return proven


GET = ("a", "GET")


@pytest.mark.parametrize(
    ("requests", "count"),
    [
        (((*GET, "200", 1.0), (*GET, "404", 2.0), (*GET, "200", 3.0)), 1),
        (((*GET, "200", 1.0), (*GET, "404", 2.0), (*GET, "404", 3.0), (*GET, "200", 4.0)), 2),
        (((*GET, "404", 1.0), (*GET, "404", 2.0), (*GET, "200", 3.0)), 0),  # not ready yet
        (((*GET, "200", 1.0), (*GET, "404", 2.0)), 0),  # taken away
        (((*GET, "200", 1.0), ("a", "DELETE", "204", 1.5), (*GET, "404", 2.0), (*GET, "200", 3.0)), 0),
        (((*GET, "200", 1.0), ("b", "GET", "404", 2.0), (*GET, "200", 3.0)), 0),
        ((("a/one", "GET", "200", 1.0), ("a/two", "GET", "404", 2.0), ("a/one", "GET", "200", 3.0)), 0),
        (
            (
                ("a/one", "GET", "200", 1.0),
                ("a/two", "POST", "201", 1.5),
                ("a/one", "GET", "404", 2.0),
                ("a/one", "GET", "200", 3.0),
            ),
            0,
        ),
        (((*GET, "200", 1.0), (*GET, "401", 2.0), (*GET, "200", 3.0)), 1),  # for sessions
        (((*GET, "200", 1.0), (*GET, "429", 2.0), (*GET, "200", 3.0)), 0),
        (((*GET, "200", 1.0), (*GET, "404", 20.0), (*GET, "200", 40.0)), 0),
    ],
)
def test_a_refusal_between_two_good_answers(
    requests: tuple[tuple[str, str, str, float], ...], count: int
) -> None:
    assert told(*requests) == count


def test_a_step_names_the_request_and_where_to_send_it() -> None:
    steps = found(logged((LACKING,), (LACKING,)))["APP035"].fix or ()
    told = " | ".join(step if isinstance(step, str) else step.en for step in steps)
    assert "POST /members once past nginx, to 127.0.0.1:8000" in told
    assert "{" not in told
