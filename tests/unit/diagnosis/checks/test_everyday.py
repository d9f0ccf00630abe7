"""Hosts that the framework refuses, two Hosts, decoded paths, static files, full queues, closed challenges."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.files import AccessStep, Reader
from ops.facts.logs import LogEntry
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, Spread, UnservedFile
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    DOMAIN,
    GUNICORN_ACCESS_LOG,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NGINX_WORKER,
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    answered,
    but,
    entry,
    exchange,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
)

SOCKET = "/run/gte.sock"
BAD = page(400, "Bad Request", **PREDICT)
PASS = "        proxy_pass http://gte_backend;\n    }\n    location = /health"


def host(
    *answers: Answers, said: tuple[LogEntry, ...] = (), lines: str = "", passes: str = "", **changes: Any
) -> Snapshot:
    """Both access logs have these, the service's log ``said``; ``lines`` beside proxy_pass, ``passes`` in its place."""
    site = SITE.replace(PASS, f"        {lines}\n{PASS}" if lines else PASS)
    site = (
        site.replace("        proxy_pass http://gte_backend;", f"        proxy_pass {passes};", 1)
        if passes
        else site
    )
    return but(
        nginx_config=nginx_config(site),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *answers),
        logs__gunicorn_error=gunicorn_log(*said),
        **changes,
    )


def get(path: str, status: str, count: int = 5, sent: float | None = None) -> Answers:
    spread = None if sent is None else Spread(least=sent, median=sent, most=sent)
    return answered(status, count, path=path, method="GET", sent=spread)


def below(*answers: Answers, uri: str = "/") -> Snapshot:
    """The application is served below /api/ as well."""
    site = SITE.replace(
        "    location / {\n        limit_req",
        f"    location /api/ {{ proxy_pass http://gte_backend{uri}; }}\n    location / {{\n        limit_req",
    )
    return but(host(*answers), nginx_config=nginx_config(site))


def disallowed(name: str, ago: float = 60.0) -> tuple[LogEntry, ...]:
    return (
        entry(f"Invalid HTTP_HOST header: '{name}'. You may need to add '{name}' to ALLOWED_HOSTS.", ago=ago),
    )


def full_queue(*, connects: bool, refused: int = 0, served: int = 90) -> Snapshot:
    """nginx was told of a full queue by the service's unix socket."""
    line = f"*11 connect() to unix:{SOCKET} failed (11: Resource temporarily unavailable) while connecting to upstream"
    answers = (answered("200", served), *((answered("502", refused),) if refused else ()))
    base = host(*answers, target__backend=f"unix:{SOCKET}", logs__nginx_errors=nginx_logs(entry(line)))
    failure = None if connects else ProbeFailure.OTHER
    return but(
        base,
        backend__connection=Connection(address=f"unix:{SOCKET}", failure=failure),
        logs__gunicorn_access__last_prediction=NOW + 1,
    )


TWICE = "proxy_set_header Host $host;\n        proxy_set_header HOST $http_host;"
ENCODED = "/packages/lab%2Fgte"
MISSED = get("/static/app.css", "404", sent=179)
NOT_TRUSTED = exchange(400, "Invalid host header", kind="text/plain", **PREDICT)

CASES: list[Case] = [
    # --- APP026
    fires(
        "APP026",
        "Django refuses the site's name",
        host(said=disallowed(DOMAIN)),
        "Invalid HTTP_HOST header",
        severity="fail",
        facts={"name": DOMAIN},
    ),
    fires("APP026", "it refuses it with its port", host(said=disallowed(f"{DOMAIN}:8443"))),
    fires("APP026", "Starlette refuses it", host(front__predict=NOT_TRUSTED), "Invalid host header"),
    quiet("APP026", "a stranger's name", host(said=disallowed("203.0.113.9"))),
    quiet("APP026", "a name that ends like the site's", host(said=disallowed(f"evil-{DOMAIN}"))),
    quiet("APP026", "before the last start", host(said=disallowed(DOMAIN, ago=5000))),
    quiet("APP026", "400 for another reason", host(front__predict=BAD)),
    # --- NGX084
    fires(
        "NGX084",
        "nginx sends two, and the request is refused",
        host(lines=TWICE, front__predict=BAD),
        f"{SITE_FILE}:20 proxy_set_header Host $host;",
        f"{SITE_FILE}:21 proxy_set_header HOST $http_host;",
        severity="fail",
    ),
    fires("NGX084", "all users are refused", host(answered("400", 5), lines=TWICE)),
    quiet("NGX084", "nobody is refused", host(answered("200", 5), lines=TWICE)),
    quiet(
        "NGX084",
        "another header twice",
        host(lines="proxy_set_header X-A a; proxy_set_header X-A b;", front__predict=BAD),
    ),
    quiet("NGX084", "one Host", host(lines="proxy_set_header Host $host;", front__predict=BAD)),
    # --- NGX083
    fires(
        "NGX083",
        "the slash behind proxy_pass decodes",
        host(get(ENCODED, "404"), passes="http://gte_backend/"),
        "the service gets /packages/lab/gte",
        severity="fail",
        facts={"path": ENCODED, "status": "404"},
    ),
    quiet("NGX083", "nginx sends the path as it came", host(get(ENCODED, "404"))),
    quiet(
        "NGX083",
        "some are served",
        host(get(ENCODED, "404"), get(ENCODED, "200"), passes="http://gte_backend/"),
    ),
    quiet("NGX083", "nothing is encoded", host(get("/packages/lab", "404"), passes="http://gte_backend/")),
    quiet("NGX083", "two are few", host(get(ENCODED, "404", 2), passes="http://gte_backend/")),
    # --- APP027
    fires(
        "APP027",
        "Django is asked for css",
        host(MISSED),
        "5 x GET /static/app.css 404",
        severity="fail",
        facts={"prefix": "/static/"},
    ),
    fires("APP027", "for the admin's", host(get("/assets/admin/base.css", "404", sent=179))),
    quiet("APP027", "others below it are served", host(MISSED, get("/static/logo.svg", "200"))),
    quiet("APP027", "another framework's page", host(get("/static/app.css", "404", sent=207))),
    quiet("APP027", "no static file", host(get("/static/admin", "404", sent=179))),
    quiet("APP027", "two are few", host(get("/static/app.css", "404", 2, sent=179))),
    # --- APP028
    fires(
        "APP028",
        "the documentation's page is served below the prefix",
        below(get("/openapi.json", "404", 3), get("/api/docs", "200", 1)),
        "takes /api away; /api/docs is served",
        facts={"prefix": "/api", "path": "/openapi.json"},
    ),
    fires(
        "APP028",
        "the very file is served below the prefix",
        below(get("/static/app.css", "404", 3, sent=207), get("/api/static/app.css", "200", 1)),
    ),
    quiet("APP028", "nobody looks at the documentation", below(get("/openapi.json", "404", 3))),
    quiet("APP028", "strangers ask for pages", below(get("/users", "404", 9), get("/api/users", "200"))),
    quiet(
        "APP028",
        "the prefix is kept",
        below(get("/openapi.json", "404", 3), get("/api/docs", "200", 1), uri=""),
    ),
    # --- GUN006
    fires("GUN006", "the socket's queue is full", full_queue(connects=False), "failed (11: Resource"),
    fires("GUN006", "a share of the users met it", full_queue(connects=True, refused=5)),
    quiet("GUN006", "one user met it once", full_queue(connects=True, refused=1)),
    # --- NGX041
    quiet(
        "NGX041",
        "the refusal came in before the reset",
        host(
            answered("400", 3),
            logs__nginx_errors=nginx_logs(
                entry(
                    "*1 writev() failed (104: Connection reset by peer) while sending request to upstream,"
                    ' client: 10.0.0.7, server: gte-api.example.com, request: "POST /predict HTTP/1.1"'
                )
            ),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def steps(snapshot: Snapshot, code: str) -> str:
    return "\n".join(s if isinstance(s, str) else s.en for s in found(snapshot)[code].fix or ())


def test_the_second_host_is_taken_out() -> None:
    assert f"21s#proxy_set_header[[:space:]]\\+HOST[[:space:]][^;]*;##' {SITE_FILE}" in steps(
        host(lines=TWICE, front__predict=BAD), "NGX084"
    )


def test_the_slash_that_decodes_is_taken_away() -> None:
    assert "#http://gte_backend;#" in steps(host(get(ENCODED, "404"), passes="http://gte_backend/"), "NGX083")


def test_a_closed_directory_of_the_challenge_is_opened() -> None:
    path = "/var/www/html/.well-known/acme-challenge/gte-ops-1"
    steps_there = tuple(
        AccessStep(path=place, is_directory=True, uid=0, gid=0, mode=mode, changed=NOW - 9000)
        for place, mode in (("/var/www/html", 0o755), ("/var/www/html/.well-known", 0o700))
    )
    closed = UnservedFile(
        path=path,
        error=13,
        request="GET /.well-known/acme-challenge/gte-ops-1",
        entry=f'*8 open() "{path}" failed (13: Permission denied)',
        log=NGINX_ERROR_LOG,
        count=1,
        last=NOW - 1,
        steps=steps_there,
        reader=Reader(pid=NGINX_WORKER, user="www-data", uid=33, gids=(33,)),
    )
    refused = Exchange(
        method="GET", url=f"http://{DOMAIN}/.well-known/acme-challenge/x", address="127.0.0.1:80", status=403
    )
    base = but(logs__unserved_files=(closed,), front__challenge=(refused,))
    leaf = msgspec.structs.replace(base.served.chain[0], not_after=NOW - 3600)
    snapshot = but(base, served__chain=(leaf, *base.served.chain[1:]))
    assert "chmod o+x /var/www/html/.well-known" in steps(snapshot, "TLS024")
