"""Requests that gunicorn refuses as nginx sends them, and those that nginx itself answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.logs import LogEntry
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, EventStream, LoggedRequest
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    GUNICORN_MASTER,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    access_log,
    answered,
    but,
    entry,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
)

BAD = page(400, "Bad Request", **PREDICT)
LIMIT = page(429, "Too Many Requests", **PREDICT)
PASS = "        proxy_pass http://gte_backend;\n    }\n    location = /health"
CONTRADICTION = "Invalid request from ip=127.0.0.1: Contradictory scheme headers"
SCHEMES = (
    "proxy_set_header X-Forwarded-Proto $scheme;\n        proxy_set_header X-Forwarded-Protocol $scheme;"
)


def site(lines: str = "", http: str = "") -> Any:
    """The site with ``lines`` beside its proxy_pass, and ``http`` before its server blocks."""
    return nginx_config(http + SITE.replace(PASS, f"        {lines}\n{PASS}"))


def refused(*said: LogEntry, lines: str = SCHEMES, **changes: Any) -> Snapshot:
    return but(
        nginx_config=site(lines),
        logs__gunicorn_error=gunicorn_log(*said),
        **{"front__predict": BAD, **changes},
    )


def users(
    *at_nginx: Answers, at_service: tuple[Answers, ...] = (), lines: str = "", **changes: Any
) -> Snapshot:
    return but(
        nginx_config=site(lines),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *at_nginx),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *at_service),
        **changes,
    )


def asked(method: str, status: str, count: int = 4, path: str = "/items/*") -> Answers:
    return answered(status, count, path=path, method=method)


def spoken(ago: float) -> Snapshot:
    """Words that name nothing of nginx's, ``ago`` seconds before the doctor's request."""
    probe = LoggedRequest(time=NOW - 1, method="POST", path="/predict", status="400", line="")
    return refused(
        entry("Invalid request from ip=127.0.0.1: Invalid HTTP Header: 'X Y'", ago=1 + ago),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, probes=(probe,)),
    )


# What a healthy site has most of.
GOOD = answered("200", 900)
LISTED = "limit_except GET POST { deny all; }"
CACHE = "proxy_cache api; proxy_cache_valid any 30m;"
CRASH = "Worker (pid:901) was sent SIGSEGV!"


def crashed(*answers: Answers, ago: float = 600, lost: bool = True, booted: bool = False) -> Snapshot:
    """A worker of an earlier start crashed; the service was started again 300 s ago."""
    line = (
        "*7 upstream prematurely closed connection while reading response header from upstream, client: 10.0.0.7,"
        ' server: gte-api.example.com, request: "GET /report HTTP/1.1", upstream: "http://127.0.0.1:8000/report"'
    )
    boot = (entry("Booting worker with pid: 901", ago=ago + 2, level="info"),) if booted else ()
    base = but(
        logs__gunicorn_error=gunicorn_log(*boot, entry(CRASH, ago=ago)),
        logs__nginx_errors=nginx_logs(*((entry(line, ago=ago),) if lost else ())),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
    )
    masters = tuple(
        msgspec.structs.replace(p, started=NOW - 300) if p.pid == GUNICORN_MASTER else p
        for p in base.processes.processes
    )
    return but(base, processes__processes=masters)


def limited(client: str, extra: str = "", message: str = "limiting requests, excess: 9.1") -> Snapshot:
    line = (
        f'*7 {message} by zone "gte_api", client: {client}, server: gte-api.example.com,'
        ' request: "POST /predict HTTP/1.1", host: "gte-api.example.com"'
    )
    return but(
        nginx_config=site(extra),
        logs__nginx_errors=nginx_logs(*(entry(line, ago=5 + n) for n in range(30))),
        logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 70, "429": 30}),
    )


def balanced(count: int, *answers: Answers, first: str = "\\x16\\x03\\x01") -> Snapshot:
    line = f'*7 broken header: "{first}" while reading PROXY protocol, client: 10.0.0.7, server: 0.0.0.0:443'
    config = nginx_config(SITE.replace("listen 443 ssl", "listen 443 ssl proxy_protocol"))
    return but(
        nginx_config=config,
        logs__nginx_errors=nginx_logs(*(entry(line, ago=5 + n) for n in range(count))),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
    )


def streamed(
    lines: str = "",
    *,
    path: str = "/stream",
    status: str = "200",
    forbids: bool = False,
    pattern: str = "/stream",
) -> Snapshot:
    stream = EventStream(
        pattern=pattern, where="app.py:22", written='"text/event-stream"', forbids_buffering=forbids
    )
    return users(asked("GET", status, path=path), lines=lines, logs__event_streams=(stream,))


def moved(
    redirect: str = "301",
    count: int = 4,
    *at_service: Answers,
    served: int = 0,
    ago: float | None = None,
    path: str = "/predict",
    lost: str = "405",
) -> Snapshot:
    """POSTs over plain HTTP that are redirected, and the GETs that follow them over HTTPS."""
    after = NOW - 60 if ago is None else NOW - 60 + ago
    posts = msgspec.structs.replace(asked("POST", redirect, count, path), first=NOW - 65, last=NOW - 61)
    gets = msgspec.structs.replace(asked("GET", lost, count, path), first=NOW - 65, last=after)
    return users(
        gets,
        *((asked("GET", "200", served, path),) if served else ()),
        at_service=at_service,
        logs__nginx_plain_access=logged("/var/log/nginx/access.log", posts),
    )


CASES: list[Case] = [
    # --- NGX085
    fires(
        "NGX085",
        "two headers of the scheme contradict",
        refused(entry(CONTRADICTION)),
        "Contradictory scheme headers",
        f"{SITE_FILE}:21 proxy_set_header X-Forwarded-Protocol $scheme",
        severity="fail",
        facts={"status": "400", "reason": "Contradictory scheme headers"},
    ),
    fires(
        "NGX085",
        "a header that the words name",
        refused(
            entry("Invalid request from ip=127.0.0.1: Invalid HTTP Header: 'X_SHOP'"),
            lines="proxy_set_header X-Shop a;",
        ),
        "proxy_set_header X-Shop a",
    ),
    quiet(
        "NGX085",
        "the doctor's request passes",
        refused(entry(CONTRADICTION), front__predict=HEALTHY.front.predict),
    ),
    quiet("NGX085", "before the last start", refused(entry(CONTRADICTION, ago=5000))),
    quiet(
        "NGX085",
        "the service refuses the doctor's own too",
        refused(entry(CONTRADICTION), backend__predict=BAD),
    ),
    quiet("NGX085", "gunicorn does not say why", refused()),
    quiet(
        "NGX085", "the limit, and an old contradiction", refused(entry(CONTRADICTION), front__predict=LIMIT)
    ),
    quiet("NGX085", "a scanner's header", spoken(ago=60)),
    fires("NGX085", "it is said of the doctor's request", spoken(ago=0), "X Y"),
    quiet(
        "NGX085",
        "it is too long: that is APP022",
        refused(entry("Invalid request from ip=127.0.0.1: Request Line is too large (9000 > 4094)")),
    ),
    # --- NGX086
    fires(
        "NGX086",
        "a method that is not on the list",
        users(asked("DELETE", "403"), lines=LISTED),
        f"{SITE_FILE}:20 limit_except GET POST",
        severity="warn",
        facts={"request": "DELETE /items/*", "status": "403", "count": "4"},
    ),
    fires(
        "NGX086",
        "the service answers that method there",
        users(asked("DELETE", "403"), at_service=(asked("DELETE", "204", 1),), lines=LISTED),
        severity="fail",
    ),
    fires(
        "NGX086", "the prediction", users(asked("PUT", "403", path="/predict"), lines=LISTED), severity="warn"
    ),
    fires(
        "NGX086",
        "what users miss goes before what may be meant",
        users(
            asked("PUT", "403", path="/a"),
            asked("DELETE", "403"),
            at_service=(asked("DELETE", "204", 1),),
            lines=LISTED,
        ),
        severity="fail",
        facts={"request": "DELETE /items/*"},
    ),
    quiet("NGX086", "a scanner at the root", users(GOOD, asked("PUT", "403", 3, "/"), lines=LISTED)),
    quiet("NGX086", "a scanner's file", users(GOOD, asked("PUT", "403", 3, "/a/x.jsp"), lines=LISTED)),
    quiet("NGX086", "a method of WebDAV", users(GOOD, asked("PROPFIND", "403", 3), lines=LISTED)),
    quiet(
        "NGX086",
        "the service gave them",
        users(asked("DELETE", "403"), at_service=(asked("DELETE", "403"),), lines=LISTED),
    ),
    quiet("NGX086", "two are few", users(asked("DELETE", "403", 2), asked("DELETE", "200", 2), lines=LISTED)),
    quiet("NGX086", "no rule refuses it", users(asked("DELETE", "403"))),
    quiet("NGX086", "the path is closed to everybody", users(asked("DELETE", "403"), lines="deny all;")),
    fires(
        "NGX086",
        "the body was waited for too briefly",
        users(asked("POST", "408"), asked("POST", "200"), lines="client_body_timeout 5s;"),
        "client_body_timeout 5s",
        severity="warn",
    ),
    fires("NGX086", "none was patient enough", users(asked("POST", "408")), severity="warn"),
    quiet("NGX086", "one slow client", users(asked("POST", "408", 1))),
    quiet("NGX086", "slow ones among many", users(GOOD, asked("POST", "408", 4))),
    quiet("NGX086", "a phone now and then", users(asked("POST", "408", 3), asked("POST", "200", 97))),
    fires(
        "NGX086",
        "an old error from the cache",
        users(asked("GET", "500", 6), at_service=(asked("GET", "500", 1),), lines=CACHE),
        "proxy_cache_valid any 30m",
        facts={"count": "5"},
    ),
    quiet(
        "NGX086",
        "the cache keeps good answers alone, and the service fails",
        users(asked("GET", "500", 6), at_service=(asked("GET", "500", 6),), lines=CACHE),
    ),
    fires(
        "NGX086",
        "a failure of before the service's restart",
        users(asked("GET", "500", 6), lines=CACHE),
        severity="fail",
    ),
    quiet("NGX086", "nothing is cached", users(asked("GET", "500", 6))),
    quiet(
        "NGX086",
        "no line says what is kept",
        users(asked("GET", "500", 6), at_service=(asked("GET", "500", 1),), lines="proxy_cache api;"),
    ),
    quiet(
        "NGX086",
        "a 404 may be kept",
        users(asked("GET", "404", 6), lines="proxy_cache api; proxy_cache_valid 404 1m;"),
    ),
    quiet("NGX086", "a redirect may be kept", users(asked("GET", "301", 6), lines=CACHE)),
    quiet("NGX086", "503 of nginx's own", users(asked("GET", "503", 3), lines=CACHE)),
    quiet(
        "NGX086",
        "nginx says why it failed",
        users(
            asked("GET", "500", 6),
            lines=CACHE,
            logs__nginx_errors=nginx_logs(
                *(
                    entry('*7 rewrite cycle, request: "GET /items/1 HTTP/1.1"', ago=n * 0.5)
                    for n in range(400)
                )
            ),
        ),
    ),
    quiet(
        "NGX086",
        "nginx decides the path",
        users(
            asked("GET", "500", 6),
            at_service=(asked("GET", "500", 1),),
            lines=f"{CACHE} if ($request_method = GET) {{ return 500; }}",
        ),
    ),
    quiet(
        "NGX086",
        "the service knows it as another path",
        users(
            asked("GET", "500", 6),
            at_service=(asked("GET", "500", 6, "/v2/items/*"),),
            lines=f"{CACHE} rewrite ^/(.*)$ /v2/$1 break;",
        ),
    ),
    # --- NGX087
    fires("NGX087", "everybody comes without the line", balanced(3), "while reading PROXY protocol"),
    quiet("NGX087", "somebody is served", balanced(3, answered("200", 1))),
    quiet("NGX087", "health checks that only connect", balanced(5, first="")),
    quiet("NGX087", "two are few", balanced(2)),
    quiet("NGX087", "nginx does not ask for it", but(balanced(3), nginx_config=site())),
    # --- NGX088
    fires("NGX088", "a stream that is asked for", streamed(), "app.py:22", severity="warn"),
    quiet("NGX088", "buffering is off", streamed("proxy_buffering off;")),
    quiet("NGX088", "the application forbids it", streamed(forbids=True)),
    quiet("NGX088", "nobody asks for it", streamed(path="/other")),
    quiet("NGX088", "it is not answered", streamed(status="404")),
    quiet("NGX088", "the stream is the root", streamed(pattern="", path="/predict")),
    quiet("NGX088", "the stream has parameters alone", streamed(pattern="/[^/]+/[^/]+", path="/v1/items")),
    fires("NGX088", "a parameter before it", streamed(pattern="/[^/]+/stream", path="/a/stream")),
    # --- NGX089
    fires(
        "NGX089", "as many GETs follow", moved(), f"{SITE_FILE}:", severity="warn", facts={"status": "301"}
    ),
    fires(
        "NGX089",
        "a path that the service answers",
        moved("301", 4, asked("POST", "201", 1, "/orders"), path="/orders"),
    ),
    quiet("NGX089", "nobody serves that path", moved(path="/xmlrpc.php")),
    quiet("NGX089", "it is not there for GET", moved(lost="404")),
    quiet("NGX089", "the redirect keeps the method", moved(redirect="308")),
    quiet("NGX089", "GET is served there", moved(served=3)),
    quiet("NGX089", "they come much later", moved(ago=500.0)),
    quiet("NGX089", "two are few", moved(count=2)),
    quiet("NGX089", "no log of plain HTTP", but(moved(), logs__nginx_plain_access=None)),
    # --- GUN014
    fires("GUN014", "a crash while a request was served", crashed(ago=60), "GET /report"),
    fires("GUN014", "nobody has asked for it since the restart", crashed(), severity="warn"),
    quiet("GUN014", "such requests are answered since", crashed(asked("GET", "200", path="/report"))),
    quiet("GUN014", "it loaded the application, which serves now", crashed(lost=False, booted=True)),
    # --- NGX008
    fires("NGX008", "a proxy of this host is one for all", limited("127.0.0.1"), "limit_req zone=gte_api"),
    fires(
        "NGX008",
        "the limit of connections",
        limited("10.0.0.7", "limit_conn gte_api 2; limit_conn_status 429;", "limiting connections"),
        f"{SITE_FILE}:20 limit_conn gte_api 2",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def steps(snapshot: Snapshot, code: str) -> str:
    return "\n".join(s if isinstance(s, str) else s.en for s in found(snapshot)[code].fix or ())


def test_only_the_standard_header_of_the_scheme_stays() -> None:
    assert f"21s#proxy_set_header[[:space:]]\\+X-Forwarded-Protocol[[:space:]][^;]*;##' {SITE_FILE}" in steps(
        refused(entry(CONTRADICTION)), "NGX085"
    )


def test_the_method_is_put_on_the_list() -> None:
    assert "limit_except DELETE" in steps(users(asked("DELETE", "403"), lines=LISTED), "NGX086")


def test_the_cache_keeps_good_answers_alone() -> None:
    kept = users(asked("GET", "500", 6), at_service=(asked("GET", "500", 1),), lines=CACHE)
    assert "proxy_cache_valid 200 30m" in steps(kept, "NGX086")


def test_the_proxy_s_address_is_looked_behind() -> None:
    assert "set_real_ip_from 127.0.0.1" in steps(limited("127.0.0.1"), "NGX008")
    assert "If 10.0.0.7 is a proxy: In the server block write set_real_ip_from 10.0.0.7" in steps(
        limited("10.0.0.7"), "NGX008"
    )
    # A client's own address, and a limit of connections, which a browser may reach alone.
    assert "set_real_ip_from" not in steps(limited("203.0.113.9"), "NGX008")
    connections = limited("10.0.0.7", "limit_conn gte_api 2; limit_conn_status 429;", "limiting connections")
    assert "set_real_ip_from" not in steps(connections, "NGX008")
    assert "set_real_ip_from" not in steps(
        limited("127.0.0.1", "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;"), "NGX008"
    )


FIRST_FORWARDED = "map $http_x_forwarded_for $visitor { default $remote_addr; ~^(?<first>[^,]+) $first; }"


@pytest.mark.parametrize(
    ("key", "tables", "is_by_address"),
    [
        ("${binary_remote_addr}", "", True),
        ("$remote_addr$server_name", "", True),
        ("$counted", 'map $trusted $counted { 0 $binary_remote_addr; default ""; }', True),
        ("$http_x_api_key", "", False),
        ("$binary_remote_addr$http_authorization", "", False),
        ("$server_name", "", False),
        ("$visitor", FIRST_FORWARDED, False),
        ("$counted", "", False),
        ("$loop", "map $a $loop { default $loop; }", False),
    ],
)
def test_a_limit_by_another_key_counts_nobody_as_one(key: str, tables: str, is_by_address: bool) -> None:
    keyed = SITE.replace("$binary_remote_addr zone=gte_api", f"{key} zone=gte_api")
    assert keyed != SITE
    limits = but(limited("127.0.0.1"), nginx_config=nginx_config(f"{tables}\n{keyed}"))
    assert ("set_real_ip_from 127.0.0.1" in steps(limits, "NGX008")) == is_by_address
