"""What the application's source says of cookies and files, and what users met."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, CookieDomain, SourceRoute, Spread
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    NGINX_ACCESS_LOG,
    NOW,
    SITE,
    answered,
    but,
    entry,
    nginx_config,
    nginx_logs,
)

SETTINGS = "/srv/shop/settings.py:7"
LOGIN = answered("200", 9, path="/login", method="POST")


LATER = answered("200", 9, path="/login", method="POST", first=NOW - 50)


def asked(path: str, status: str = "200", count: int = 9, **changes: Any) -> Answers:
    return answered(status, count, path=path, method="GET", **changes)


def given(*domains: str, answers: tuple[Answers, ...], site: str = SITE) -> Snapshot:
    """The source gives cookies for these names, and these are users' answers."""
    return but(
        nginx_config=nginx_config(site),
        logs__cookie_domains=tuple(
            CookieDomain(setting="SESSION_COOKIE_DOMAIN", domain=domain, where=SETTINGS) for domain in domains
        ),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
    )


REFUSED = (LOGIN, asked("/me", "401"))
NAME = "server_name gte-api.example.com;"


def named(names: str) -> str:
    """The site's names are these."""
    assert NAME in SITE
    return SITE.replace(NAME, f"server_name {names};")


SENDFILE = 'app.config["USE_X_SENDFILE"] = True'
EMPTY = Spread(least=0, median=0, most=0)
FULL = Spread(least=900, median=4000, most=9000)


def handed_over(*answers: Answers, pattern: str = "/bills/[^/]+", missed: str = "") -> Snapshot:
    """The source hands files over by X-Sendfile, in a route of this pattern; ``missed``: the path of nginx's line."""
    line = (
        "*7 upstream prematurely closed connection while reading upstream, client: 192.0.2.7, server:"
        f' gte-api.example.com, request: "GET {missed} HTTP/1.1", upstream: "http://127.0.0.1:8000{missed}"'
    )
    errors: dict[str, Any] = {"logs__nginx_errors": nginx_logs(entry(line))} if missed else {}
    return but(
        logs__handed_over_files=(SourceRoute(pattern=pattern, where="/srv/shop/app.py:9", written=SENDFILE),),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        **errors,
    )


CASES = [
    fires(
        "APP033",
        "the name before the move",
        given("shop-old.example", answers=REFUSED),
        SETTINGS,
        "shop-old.example",
        "/me 401",
        severity="warn",
    ),
    fires("APP033", "sent to the login", given("shop-old.example", answers=(LOGIN, asked("/me", "302")))),
    quiet(
        "APP033",
        "nobody logs in",
        given("shop-old.example", answers=(asked("/", "302"), asked("/me", "401"))),
    ),
    quiet(
        "APP033",
        "a login afterwards",
        given("shop-old.example", answers=(LATER, asked("/me", "401", last=NOW - 100))),
    ),
    quiet("APP033", "the site's name", given("gte-api.example.com", answers=REFUSED)),
    quiet("APP033", "the name above it", given("example.com", answers=REFUSED)),
    quiet("APP033", "one of two files fits", given("shop-old.example", "example.com", answers=REFUSED)),
    quiet(
        "APP033",
        "somebody is served",
        given("shop-old.example", answers=(*REFUSED, asked("/me", "200", 2))),
    ),
    quiet("APP033", "nobody is refused", given("shop-old.example", answers=(LOGIN, asked("/me")))),
    quiet(
        "APP033",
        "another name of the host's",
        given("shop-old.example", answers=REFUSED, site=named("gte-api.example.com www.shop-old.example")),
    ),
    quiet(
        "APP033",
        "any name beneath one",
        given("a.shop.example", answers=REFUSED, site=named("gte-api.example.com *.shop.example")),
    ),
    quiet(
        "APP033",
        "names by a pattern",
        given("shop-old.example", answers=REFUSED, site=named("gte-api.example.com ~^shop")),
    ),
    fires(
        "APP034",
        "a route that sends files",
        handed_over(asked("/bills/*", sent=EMPTY)),
        SENDFILE,
        "GET /bills/* 200",
        severity="warn",
    ),
    fires(
        "APP034",
        "nginx misses what was announced",
        handed_over(asked("/export", sent=EMPTY), pattern="", missed="/export"),
        "prematurely closed",
    ),
    quiet("APP034", "the files come", handed_over(asked("/bills/*", sent=FULL))),
    quiet("APP034", "another path says nothing", handed_over(asked("/ping", sent=EMPTY))),
    quiet("APP034", "one client", handed_over(asked("/bills/*", count=2, sent=EMPTY))),
    quiet(
        "APP034",
        "another path's connection was cut off",
        handed_over(asked("/ping", sent=EMPTY), pattern="", missed="/export"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_judge_is_right(case: Case) -> None:
    hold(case)
