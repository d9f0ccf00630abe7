"""The kinds behind the front's part of the seventh collection of reports, and the near misses, which are quiet."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.logs.packed_files import PackedPlace, packed_files
from ops.facts.probe_failure import ProbeFailure
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, PackedFile
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_fifth_collection import GOOD, users
from tests.unit.made_snapshot import (
    HEALTHY,
    NGINX_ACCESS_LOG,
    SITE,
    access_log,
    answered,
    but,
    certificate,
    nginx_config,
    traffic,
)

PLACE = "    location / {\n        limit_req"


def beside(lines: str, *at_nginx: Answers, **changes: Any) -> Snapshot:
    """Users' answers, with ``lines`` in the site's server block."""
    site = SITE.replace(PLACE, f"    {lines}\n{PLACE}")
    return but(users(GOOD, *at_nginx, **changes), nginx_config=nginx_config(site))


# --- refused for what nginx changes

PUT = answered("412", 5, path="/items", method="PUT")
READ = answered("200", 5, path="/items", method="GET")
WANTED = answered("428", 5, path="/items", method="PUT")
PACKED = "gzip on; gzip_types application/json;"
FORM = (answered("403", 5, path="/form"), answered("200", 5, path="/form", method="GET"))
NO_REFERRER = "add_header Referrer-Policy no-referrer always;"
SHOP = "location /shop/ { proxy_pass http://gte_backend/app/; }"
LOGGED_IN = (
    answered("200", 3, path="/shop/login"),
    answered("401", 5, path="/shop/me", method="GET"),
)


def body(lines: str, status: str = "422", *others: Answers) -> Snapshot:
    return users(answered(status, 5), *others, lines=lines)


# --- another answer than the service's

BUSY = answered("503", 5, path="/report", method="GET")
CALLED_GOOD = answered("200", 5, path="/report", method="GET")
PAGE = "proxy_intercept_errors on; error_page 500 503 =200 /sorry.html;"
KEPT = "proxy_cache pages; proxy_cache_methods GET HEAD POST; proxy_cache_valid 200 10m;"
SEARCHED = answered("200", 9, path="/search")
SCRIPT = answered("200", 5, path="/static/app.js", method="GET")
STATIC = "location /static/ { alias /srv/static/; gzip_static on; }"
COPY = PackedFile(request_path="/static/app.js", path="/srv/static/app.js", age=7200.0)


# --- sent back, and curves

RARE = "ssl_ecdh_curve secp521r1;"
OTHER_BLOCK = "server { listen 443 ssl default_server; ssl_reject_handshake on; }\n"

MOVED = answered("301", 20, path="/items", method="GET", quick=19)
HEALTH = answered("200", 20, path="/health", method="GET")


def checked(status: str, name: str) -> Answers:
    """A balancer's check."""
    line = f'"GET / HTTP/1.1" {status} 169 "-" "{name}"'
    return answered(status, 12, path="/", method="GET", newest=(line,))


CHECKED = checked("301", "ELB-HealthChecker/2.0")


def in_the_clear(*answers: Answers, users_get: tuple[Answers, ...] = ()) -> Snapshot:
    """The access log of plain HTTP is another one."""
    log = msgspec.structs.replace(access_log("/var/log/nginx/access.log", {}), traffic=traffic(*answers))
    return but(users(*users_get), logs__nginx_plain_access=log)


CASES: list[Case] = [
    fires("NGX094", "gzip weakens what If-Match has to name", beside(PACKED, PUT, READ), "412", "gzip on"),
    quiet("NGX094", "nothing changes the answer", beside("gzip off;", PUT, READ)),
    quiet(
        "NGX094",
        "some know the version",
        beside(PACKED, PUT, READ, answered("200", 3, path="/items", method="PUT")),
    ),
    quiet("NGX094", "only pages are packed, as in the distribution's file", beside("gzip on;", PUT, READ)),
    quiet("NGX094", "nobody was given a version", beside(PACKED, PUT)),
    quiet("NGX094", "a version is wanted, and not another", beside(PACKED, WANTED, READ)),
    fires("NGX094", "no body is passed on", body("proxy_pass_request_body off;"), "proxy_pass_request_body"),
    fires("NGX094", "another body is sent", body('proxy_set_body "{}";', "400")),
    fires(
        "NGX094",
        "the type is nginx's",
        body("proxy_set_header Content-Type text/plain;", "415"),
        "Content-Type",
    ),
    quiet(
        "NGX094", "the type is the client's", body("proxy_set_header Content-Type $http_content_type;", "415")
    ),
    quiet(
        "NGX094",
        "the type is the client's by nginx's name for it",
        body("proxy_set_header Content-Type $content_type;", "415"),
    ),
    quiet(
        "NGX094",
        "the type may be the client's, by a map",
        body("proxy_set_header Content-Type $kind;", "415"),
    ),
    quiet(
        "NGX094",
        "the type is the service's, and what came was wrong",
        body("proxy_set_header Content-Type application/json;"),
    ),
    quiet(
        "NGX094",
        "clients need not understand packed answers",
        body('proxy_set_header Accept-Encoding "";', "406"),
    ),
    quiet(
        "NGX094", "no origin is told, and strangers are refused", body('proxy_set_header Origin "";', "403")
    ),
    quiet(
        "NGX094",
        "the body of auth_request's questions alone is left out",
        beside("location = /auth { internal; proxy_pass_request_body off; }", answered("422", 5)),
    ),
    fires("NGX094", "the method is nginx's", body("proxy_method GET;", "405"), "proxy_method"),
    quiet("NGX094", "others are served", body("proxy_pass_request_body off;", "422", GOOD)),
    fires("NGX094", "browsers name no origin", beside(NO_REFERRER, *FORM), "no-referrer"),
    quiet(
        "NGX094", "they name their own site", beside(NO_REFERRER.replace("no-referrer", "same-origin"), *FORM)
    ),
    quiet("NGX094", "nobody sees the form", beside(NO_REFERRER, FORM[0])),
    fires("NGX094", "the cookie is for another path", beside(SHOP, *LOGGED_IN), "gte_backend/app/"),
    quiet("NGX094", "nobody logs in", beside(SHOP, LOGGED_IN[1])),
    quiet(
        "NGX094",
        "keys are for some of an API below another path",
        beside(
            SHOP,
            answered("200", 30, path="/shop/predict"),
            answered("401", 5, path="/shop/admin", method="GET"),
        ),
    ),
    quiet(
        "NGX094",
        "sessions work, and strangers are refused elsewhere",
        beside(SHOP, *LOGGED_IN, answered("200", 3, path="/shop/basket", method="GET")),
    ),
    quiet(
        "NGX094",
        "the path of cookies is changed too",
        beside(SHOP.replace("/app/;", "/app/; proxy_cookie_path /app /shop;"), *LOGGED_IN),
    ),
    fires(
        "NGX094",
        "cookies are kept back",
        users(
            answered("200", 3, path="/login"),
            answered("401", 5, path="/me", method="GET"),
            lines="proxy_hide_header Set-Cookie;",
        ),
    ),
    fires(
        "NGX095",
        "the error is called a success",
        beside(PAGE, CALLED_GOOD, at_service=(GOOD, BUSY)),
        "=200",
        "5 x GET /report 503",
    ),
    quiet(
        "NGX095",
        "a spare service answers",
        beside(PAGE.replace("=200 /sorry.html", "= @spare"), CALLED_GOOD, at_service=(GOOD, BUSY)),
    ),
    quiet(
        "NGX095",
        "who is not logged in is led to the login",
        beside(
            PAGE.replace("500 503 =200 /sorry.html", "401 =302 /login"),
            answered("302", 5, path="/report", method="GET"),
            at_service=(GOOD, answered("401", 5, path="/report", method="GET")),
        ),
    ),
    quiet("NGX095", "users see the status", beside(PAGE, BUSY, CALLED_GOOD, at_service=(GOOD, BUSY))),
    quiet(
        "NGX095", "nginx does not look", beside(PAGE.partition(";")[2], CALLED_GOOD, at_service=(GOOD, BUSY))
    ),
    fires("NGX095", "POST comes from the cache", beside(KEPT + "proxy_cache_key $uri;", SEARCHED), "POST"),
    quiet("NGX095", "the key has the body", beside(KEPT + "proxy_cache_key $uri$request_body;", SEARCHED)),
    quiet("NGX095", "the service answered each", beside(KEPT, SEARCHED, at_service=(GOOD, SEARCHED))),
    fires(
        "NGX095", "the packed copy is old", beside(STATIC, SCRIPT, logs__packed_files=(COPY,)), "gzip_static"
    ),
    quiet(
        "NGX095",
        "it is not sent",
        beside(STATIC.replace("gzip_static on;", ""), SCRIPT, logs__packed_files=(COPY,)),
    ),
    fires("NGX096", "the redirect leads to itself", in_the_clear(MOVED), "301"),
    fires("NGX096", "the watch of its health is content", in_the_clear(MOVED, users_get=(HEALTH,)), "301"),
    fires("NGX096", "in the site's own log", users(MOVED, at_service=()), "20 x GET /items 301"),
    quiet(
        "NGX096", "others are served meanwhile: it is a measurement", in_the_clear(MOVED, users_get=(GOOD,))
    ),
    quiet("NGX096", "many paths count as one", in_the_clear(msgspec.structs.replace(MOVED, path="/items/*"))),
    quiet(
        "NGX096", "a check that gets 404 on purpose", in_the_clear(checked("404", "ELB-HealthChecker/2.0"))
    ),
    quiet("NGX096", "a redirect is enough for the cluster", in_the_clear(checked("301", "kube-probe/1.31"))),
    fires("NGX096", "the check gets a refusal", in_the_clear(checked("400", "GoogleHC/1.0")), "GoogleHC"),
    quiet(
        "NGX096",
        "those who are sent there arrive",
        users(GOOD, MOVED, answered("200", 1, path="/items", method="GET")),
    ),
    quiet("NGX096", "they come one by one", in_the_clear(msgspec.structs.replace(MOVED, quick=2))),
    quiet(
        "NGX096",
        "the service sends them",
        users(GOOD, MOVED, at_service=(GOOD, msgspec.structs.replace(MOVED, quick=0))),
    ),
    fires("NGX096", "the balancer's check is redirected", in_the_clear(CHECKED), "ELB-HealthChecker"),
    quiet("NGX096", "the balancer is content: users come", in_the_clear(CHECKED, users_get=(GOOD,))),
    quiet(
        "NGX096", "somebody else is redirected", in_the_clear(msgspec.structs.replace(CHECKED, newest=("x",)))
    ),
    fires("TLS031", "the only curve is rare", beside("ssl_ecdh_curve secp521r1;"), "ssl_ecdh_curve"),
    quiet("TLS031", "a usual one is among them", beside("ssl_ecdh_curve secp521r1:X25519;")),
    quiet("TLS031", "OpenSSL chooses", beside("ssl_ecdh_curve auto;")),
    quiet("TLS031", "OpenSSL's defaults are among them", beside("ssl_ecdh_curve secp521r1:DEFAULT;")),
    quiet("TLS031", "a usual one may be used", beside("ssl_ecdh_curve secp521r1:?X25519;")),
    quiet(
        "TLS031",
        "a private authority signed a key for clients that know it",
        but(served__chain=(certificate(key_type="ED25519"),)),
    ),
    quiet(
        "TLS031",
        "the block that connections arrive at has the usual ones",
        but(nginx_config=nginx_config(OTHER_BLOCK + SITE.replace(PLACE, f"    {RARE}\n{PLACE}"))),
    ),
    quiet(
        "APP023",
        "a page takes its questions back, and asks the last one to the end",
        users(
            GOOD,
            answered("499", 12, path="/suggest", method="GET", quick=9),
            answered("200", 4, path="/suggest", method="GET"),
        ),
    ),
    fires(
        "APP023",
        "they leave, and come back later",
        users(
            GOOD,
            answered("499", 12, path="/suggest", method="GET", quick=1),
            answered("200", 4, path="/suggest", method="GET"),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kind(case: Case) -> None:
    hold(case)


def test_a_name_without_an_address_is_told_with_its_alias() -> None:
    gone = but(
        HEALTHY,
        resolution__addresses=(),
        resolution__failure=ProbeFailure.NXDOMAIN,
        resolution__alias="lb-7.cloud.example",
    )
    finding = found(gone)["DNS001"]
    assert "lb-7.cloud.example" in str(finding.evidence)
    assert finding.fix is not None
    assert "CNAME" in str(finding.fix[0])


@pytest.mark.parametrize(
    ("packed", "older", "is_found"),
    [("old", 7200, True), ("new", 7200, False), ("old", 10, False)],
    ids=["another, older", "the same", "written with the file"],
)
def test_a_packed_copy_is_found_by_age_and_content(
    tmp_path: Path, packed: str, older: float, is_found: bool
) -> None:
    file, copy = tmp_path / "app.js", tmp_path / "app.js.gz"
    file.write_text("new")
    copy.write_bytes(gzip.compress(packed.encode()))
    at = file.stat().st_mtime - older
    os.utime(copy, (at, at))
    log = msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=traffic(SCRIPT))
    place = PackedPlace("/static/", f"{tmp_path}/", replaces=True)
    assert [item.path for item in packed_files((place,), log)] == ([str(file)] if is_found else [])
