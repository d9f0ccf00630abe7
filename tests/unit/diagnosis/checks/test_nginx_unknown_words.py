"""Error lines of nginx that nobody listed: of modules made up here, or of no interest to the other checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.diagnosis.checks import CHECKS
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, LoggedRequest
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    SITE,
    SITE_FILE,
    answered,
    but,
    entry,
    nginx_config,
    nginx_logs,
    traffic,
)

# What the modules' own sources write is not copied: these are made up in their manner.
JS = '*3 js exception: TypeError: cannot read "tariff" of undefined'
LUA = '*3 lua entry thread aborted: gte-api.conf(tariff):4: attempt to index local "tariff"'
BROTLI = "*3 brotli stream of the tariff could not be begun"
GEO = '*3 geoip lookup in "/etc/nginx/tariff.mmdb" met a broken tree'
IMAGE = "*3 image filter: the tariff is wider than the buffer"
PERL = '*3 call_sv("Tariff::handler") failed: "Can\'t locate object method at Tariff.pm line 8."'
AUTH = "*3 pam: no module for the tariff could be opened"
NOBODY = "*3 zorble handshake with the tariff ended at state 7"
OF = ', client: 10.0.0.7, server: gte-api.example.com, request: "GET /tariff HTTP/1.1", host: "gte-api.example.com"'
LINE = '10.0.0.7 - - [22/Nov/2026:00:59:00 +0000] "GET /tariff HTTP/1.1" 500 177 "-" "-"'
FAILED = answered("500", 4, path="/tariff", method="GET", newest=(LINE,))
SERVED = answered("200", 9)


def host(
    line: str,
    *answers: Answers,
    inside: str = "",
    level: str = "error",
    ago: float = 60.0,
    by_service: tuple[Answers, ...] = (),
) -> Snapshot:
    """nginx's error log has ``line`` for GET /tariff, whose location has ``inside``; its access log ``answers``."""
    site = SITE.replace(
        "    location = /health",
        f"    location /tariff {{\n{inside}\nproxy_pass http://gte_backend; }}\n    location = /health",
    )
    return but(
        nginx_config=nginx_config(site),
        logs__nginx_errors=nginx_logs(entry(line + OF, level=level, ago=ago)),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *(answers or (FAILED, SERVED))),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, SERVED, *by_service),
    )


def passed_later() -> Snapshot:
    """The same requests pass since a fix, a minute after the last line."""
    later = answered("200", 3, path="/tariff", method="GET", ago=(30, 2))
    return host(NOBODY, FAILED, later)


def of_an_earlier_run() -> Snapshot:
    """The doctor of a minute ago asked for it itself."""
    snapshot = host(NOBODY)
    log = snapshot.logs.nginx_access
    probe = LoggedRequest(time=NOW - 60, method="GET", path="/tariff", status="500", line="")
    return but(snapshot, logs__nginx_access__traffic=traffic(*log.traffic.answers, probes=(probe,)))


CASES = [
    fires(
        "NGX061",
        "a script's exception, placed at its module's directive",
        host(JS, inside="js_content tariff.show;"),
        f"{NGINX_ERROR_LOG} {JS}",
        f"{SITE_FILE}:23 js_content",
        f"{SITE_FILE}:22 location /tariff",
        severity="fail",
        facts={"count": "4", "total": "4", "request": "GET /tariff", "where": f"{SITE_FILE}:23"},
    ),
    fires(
        "NGX061",
        "an embedded script",
        host(LUA, inside="content_by_lua_block tariff;"),
        f"{SITE_FILE}:23 content_by_lua_block",
    ),
    fires("NGX061", "a compressor", host(BROTLI, inside="brotli on;"), f"{SITE_FILE}:23 brotli"),
    fires(
        "NGX061", "a filter", host(IMAGE, inside="image_filter resize 9 9;"), f"{SITE_FILE}:23 image_filter"
    ),
    fires("NGX061", "a handler", host(PERL, inside="perl Tariff::handler;"), "Tariff::handler"),
    fires(
        "NGX061",
        "a file that a directive names",
        host(GEO, inside="geoip_tariff /etc/nginx/tariff.mmdb;", level="crit"),
        f"{SITE_FILE}:23 geoip_tariff",
    ),
    fires("NGX061", "a login", host(AUTH, inside='auth_pam "tariff";'), AUTH),
    fires(
        "NGX061",
        "a module that nobody knows is placed at the location",
        host(NOBODY),
        LINE,
        "proxy_pass http://gte_backend",
        facts={"where": f"{SITE_FILE}:22"},
    ),
    fires("NGX061", "emergencies too", host(NOBODY, level="emerg")),
    fires(
        "NGX061",
        "once is a warning",
        host(NOBODY, answered("502", 1, path="/tariff", method="GET"), SERVED),
        severity="warn",
    ),
    fires(
        "NGX061",
        "403 for want of a file that a directive names",
        host(
            '*3 open() "/etc/nginx/tariff.users" failed (2: No such file or directory)',
            answered("403", 5, path="/tariff", method="GET"),
            inside="auth_basic_user_file tariff.users;",
        ),
        f"{SITE_FILE}:23 auth_basic_user_file",
    ),
    quiet(
        "NGX061",
        "404 and 403 for want of a file that clients ask for",
        host(
            '*3 open() "/srv/tariff" failed (2: No such file or directory)',
            answered("403", 5, path="/tariff", method="GET"),
            inside="root /srv;",
        ),
    ),
    quiet(
        "NGX061",
        "the requests passed all the same",
        host(NOBODY, answered("200", 5, path="/tariff", method="GET")),
    ),
    quiet("NGX061", "it was fixed since", passed_later()),
    quiet("NGX061", "before the workers were started", host(NOBODY, ago=5000)),
    quiet("NGX061", "the service itself answered so", host(NOBODY, by_service=(FAILED,))),
    quiet("NGX061", "a warning alone", host(NOBODY, level="warn")),
    quiet("NGX061", "the doctor asked for it itself", of_an_earlier_run()),
    quiet(
        "NGX061",
        "lines that others judge",
        host("*3 upstream timed out (110: Connection timed out) while reading response header from upstream"),
    ),
    quiet("NGX061", "lines of a kind that is known", host("*3 auth request unexpected status: 404")),
    quiet(
        "NGX061",
        "another site's line",
        but(
            host(NOBODY),
            logs__nginx_errors=nginx_logs(entry((NOBODY + OF).replace("server: gte-api", "server: shop"))),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_steps_show_the_place_and_the_way_of_the_request() -> None:
    steps = [str(step) for step in found(host(JS, inside="js_content tariff.show;"))["NGX061"].fix or ()]
    assert f"sed -n '20,26p' {SITE_FILE}" in steps
    assert "gte-ops route GET /tariff" in steps
    assert any("http://127.0.0.1:8000/tariff" in step for step in steps)


def test_no_pattern_names_what_these_lines_say() -> None:
    """Else the cases prove nothing about modules that nobody listed."""
    folder = Path(__file__).parents[4] / "ops" / "diagnosis" / "checks"
    patterns = "\n".join(file.read_text() for file in folder.glob("nginx*.py"))
    for words in (
        "js exception",
        "lua entry",
        "brotli",
        "geoip",
        "image filter",
        "call_sv",
        "zorble",
        "pam:",
    ):
        assert not re.search(re.escape(words), patterns), words
    assert any(check.id == "nginx.unknown_words" for check in CHECKS)
