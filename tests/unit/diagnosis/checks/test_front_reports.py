"""The kinds behind the front's part of the sixth collection of public reports, and the near misses that stay quiet."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.diagnosis import nginx_message
from ops.facts.certificates import Lineages, RenewalConf, RevocationList, Served
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import NO_INDEX, PrivateRoute, Spread, UnservedFile
from ops.interpret.redaction_nginx import redacted_nginx
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.diagnosis.checks.test_fifth_collection import GOOD, OF, users
from tests.unit.made_snapshot import (
    DAY,
    DOMAIN,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    answered,
    but,
    certificate,
    directives,
    entry,
    exchange,
    lineage,
    nginx_config,
    nginx_logs,
    page,
    traffic,
)


def at_site(site: str, *at_nginx: Any, **changes: Any) -> Snapshot:
    """Both servers' answers, with another site."""
    return but(users(*at_nginx, **changes), nginx_config=nginx_config(site.replace("CONDITION", "")))


# --- WebSockets that end when nothing is said

IDLE = "*9 upstream timed out (110: Connection timed out) while proxying upgraded connection" + OF.format(
    "GET", "/ws"
)


def lasting(*seconds: float) -> Snapshot:
    """WebSockets that lasted so long: the shortest, the median, the longest; nginx waits 60 s."""
    lasted = answered("101", 4, path="/ws", method="GET", seconds=Spread(*seconds))
    return users(GOOD, lasted, lines="proxy_read_timeout 60s;")


def coming_back(*gaps: float, waits: str = "5s") -> Snapshot:
    """WebSockets whose length no log tells, and which each client opened again: the times between two ends."""
    ended = answered("101", 4, path="/ws", method="GET", gaps=Spread(*gaps))
    return users(GOOD, ended, lines=f"proxy_read_timeout {waits};")


# --- files before the service

FILES = SITE.replace(
    "    location / {\n        limit_req",
    "    root /srv/public;\n    location / { CONDITION try_files $uri.html @service; }\n"
    "    location @service {\n        limit_req",
)
ORIGIN = "if ($http_origin ~ x) { add_header X-A b; }"


def left_out(condition: str, site: str = FILES) -> Snapshot:
    """nginx looked for a file that is none, in the location with try_files."""
    file = UnservedFile(
        path="/srv/public/items",
        error=2,
        request="GET /items",
        entry='*1 open() "/srv/public/items" failed (2: No such file or directory)'
        + OF.format("GET", "/items"),
        log=NGINX_ERROR_LOG,
        count=5,
        last=NOW - 60,
    )
    return but(nginx_config=nginx_config(site.replace("CONDITION", condition)), logs__unserved_files=(file,))


def no_index(lies_at: str, count: int = 5, *, led: str = "", **changes: Any) -> Snapshot:
    """nginx had no index page for a directory that an alias leads to."""
    site = SITE.replace(
        "    location / {\n        limit_req",
        "    location /manual/ { alias /srv/manual/; }\n    location / {\n        limit_req",
    )
    file = UnservedFile(
        path="/srv/manual/",
        error=NO_INDEX,
        request="GET /manual/",
        entry='*1 directory index of "/srv/manual/" is forbidden' + OF.format("GET", "/manual/") + led,
        log=NGINX_ERROR_LOG,
        count=count,
        last=NOW - 60,
        lies_at=lies_at,
    )
    return but(nginx_config=nginx_config(site), logs__unserved_files=(file,), **changes)


def posted(site: str, *own: Any) -> Snapshot:
    refused = answered("405", 5, path="/contact")
    return at_site(site, GOOD, refused, at_service=(GOOD, *own))


# --- slashes

WITHIN = SITE.replace(
    "    location / {", "    location /img/ { proxy_pass http://gte_backend/; }\n    location / {"
)
UNMERGED = WITHIN.replace("    listen 443 ssl;", "    listen 443 ssl; merge_slashes off;")
DOUBLED = answered("400", 5, path="/img/fetch/https://m.example/a.jpg", method="GET")


def within(answers: Any, site: str = WITHIN) -> Snapshot:
    return at_site(site, GOOD, answers)


# --- renewal, names


def by_own_server(port: int = 80, days: float = 10, **renewal: Any) -> Snapshot:
    """The certificate has so many days left, and certbot renews it by a server of its own."""
    old = certificate(not_before=NOW - (90 - days) * DAY, not_after=NOW + days * DAY)
    conf = RenewalConf(path="x.conf", authenticator="standalone", own_port=port, **renewal)
    kept = Lineages(directory="/etc/letsencrypt", lineages=(lineage(renewal=conf),))
    return but(served__chain=(old,), lineages=kept)


def resolved(*addresses: str, expected: tuple[str, ...] = ("203.0.113.5",)) -> Snapshot:
    return but(resolution__addresses=addresses, target__expected_addresses=expected)


assert isinstance(HEALTHY.served, Served)
HERE_TOO = msgspec.structs.replace(HEALTHY.served, address="[2001:db8::7]:443")


# --- rules for certificates


def refused_by(code: int, words: str = "unsuitable certificate purpose") -> Snapshot:
    return but(served__trust_code=code, served__trust_error=words)


def stapled(lines: str = "", *, must: bool = True) -> Snapshot:
    """The certificate may demand a stapled answer; the site has further lines."""
    site = SITE.replace(
        "    location / {\n        limit_req", f"    {lines}\n    location / {{\n        limit_req"
    )
    return but(served__chain=(certificate(must_staple=must),), nginx_config=nginx_config(site))


def listed(
    days: float | None, lines: str = "ssl_verify_client on; ssl_crl clients.crl;", **beside: float
) -> Snapshot:
    """The list of revoked certificates counts for so many days more; ``beside``: other issuers' in the same file."""
    of_issuers = {"Clients": days} | beside
    items = tuple(
        RevocationList(
            path="/etc/nginx/clients.crl",
            issuer=f"CN={issuer.title()}",
            next_update=None if left is None else NOW + left * DAY,
        )
        for issuer, left in of_issuers.items()
    )
    return but(stapled(lines, must=False), certificates__revocations=items)


# --- what clients are given

ASKED = answered("200", 5, path="/items", method="GET")
# A browser's line: the page of another site that asked, and the agent that all of them name.
BY_A_PAGE = '"GET /items HTTP/1.1" 404 12 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64)"'
OWN_PAGE = BY_A_PAGE.replace("shop.example", DOMAIN)
BY_CURL = BY_A_PAGE.replace("https://shop.example/", "-").replace("Mozilla/5.0", "curl/8.0")
CORS = "add_header Access-Control-Allow-Origin *"
HIDES = "{ add_header X-A b; }"
PLACE = "    location / {\n        limit_req"


def adding(answers: Any, outer: str, inner: str = "", path: str = "/items") -> Snapshot:
    """Answers at /items, with headers that the server block and the location add."""
    lines = f"    {outer}\n    location {path} {{ {inner} proxy_pass http://gte_backend; }}\n"
    return at_site(SITE.replace(PLACE, f"{lines}{PLACE}"), GOOD, answers)


def failing(
    line: str = BY_A_PAGE,
    status: str = "404",
    path: str = "/items",
    outer: str = f"{CORS};",
    *,
    served: bool = True,
) -> Snapshot:
    """Requests in vain, whose newest line is ``line``; others for the path may have been served."""
    failed = answered(status, 5, path=path, method="GET", newest=(line,))
    snapshot = adding(failed, outer)
    good = answered("200", 5, path=path, method="GET")
    return but(snapshot, logs__gunicorn_access__traffic=traffic(GOOD, *((good,) if served else ())))


def hiding(condition: str, method: str = "GET", path: str = "/items") -> Snapshot:
    """A condition whose add_header puts the other one out of force."""
    return adding(answered("200", 20, path=path, method=method), f"{CORS};", condition)


def asked_at(path: str, method: str = "GET", inner: str = "add_header X-A b;", **changes: Any) -> Snapshot:
    """Good answers at a path whose location adds a header of its own."""
    return but(adding(answered("200", 20, path=path, method=method), f"{CORS};", inner, path), **changes)


STYLE = answered("200", 5, path="/static/app.css", method="GET")
MIME = "types { text/css css; text/html html; }\n"
OWN = "types { text/html html; }"


def typed(server: str, http: str = MIME, location: str = "alias /srv/static/;") -> Snapshot:
    """A style sheet that nginx sends from a file; types in http and in the server block."""
    lines = f"    {server}\n    location /static/ {{ {location} }}\n"
    return at_site(http + SITE.replace(PLACE, f"{lines}{PLACE}"), GOOD, STYLE)


def packed_answer(headers: tuple[tuple[str, str], ...]) -> Exchange:
    return Exchange(method="POST", url="https://x/predict", address="x", status=200, headers=headers)


def packed(line: str = "", *, by_service: bool = True, encoding: str = "gzip") -> Snapshot:
    """The prediction as it comes to a client that takes no encoding."""
    site = SITE.replace(
        "proxy_pass http://gte_backend;\n    }", f"{line} proxy_pass http://gte_backend;\n    }}"
    )
    headers = (("Content-Encoding", encoding), ("Content-Type", "application/json"))
    own = headers if by_service else headers[1:]
    return but(
        nginx_config=nginx_config(site),
        front__predict=packed_answer(headers),
        backend__predict=packed_answer(own),
    )


CACHE = "proxy_cache pages; proxy_cache_valid 10m;"
IGNORED = f"{CACHE} proxy_ignore_headers Set-Cookie;"


BY_COOKIE = PrivateRoute("/items", "set-cookie", "/srv/app.py:9", 'answer.set_cookie("session", of)')
BY_HEADER = PrivateRoute("/items", "cache-control", "/srv/app.py:8", 'headers["Cache-Control"] = "private"')
PAIR = SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:8000; server 192.0.2.11:8000;")


def cached(
    lines: str,
    path: str = "/items",
    asked: int = 1,
    routes: tuple[PrivateRoute, ...] = (BY_COOKIE,),
    site: str = SITE,
) -> Snapshot:
    """nginx answers five, and the service so many of them; the service's source marks what one route answers."""
    location = f"    location {path} {{ {lines} proxy_pass http://gte_backend; }}\n"
    five = answered("200", 5, path=path, method="GET")
    own = answered("200", asked, path=path, method="GET")
    snapshot = at_site(site.replace(PLACE, f"{location}{PLACE}"), GOOD, five, at_service=(GOOD, own))
    return but(snapshot, logs__private_routes=routes)


def in_the_clear(*, length: float = 248.0, path: str = "/items", count: int = 8) -> Snapshot:
    sent = Spread(length, length, length)
    return at_site(SITE, GOOD, answered("400", count, path=path, method="GET", sent=sent))


PAGE_497 = 255.0
# Ubuntu's nginx signs its pages nginx/1.22.1 (Ubuntu), whatever it was told.
OF_UBUNTU = PAGE_497 + len(" (Ubuntu)")


CASES = (
    fires(
        "NGX090",
        "an add_header of the location hides it",
        adding(ASKED, f"{CORS};", "add_header X-A b;"),
        "X-A",
    ),
    quiet("NGX090", "the location adds it again", adding(ASKED, f"{CORS};", f"add_header X-A b; {CORS};")),
    quiet("NGX090", "the location adds nothing", adding(ASKED, f"{CORS};")),
    fires("NGX090", "a condition hides it", hiding(f"if ($request_method = GET) {HIDES}"), "X-A"),
    fires("NGX090", "a negated condition hides it", hiding(f"if ($request_method != POST) {HIDES}"), "X-A"),
    *(
        quiet(
            "NGX090",
            f"the condition did not hold, or nobody knows: {condition}",
            hiding(f"if ({condition}) {HIDES}"),
        )
        for condition in (
            "$request_method = POST",
            "$request_method ~ ^(TRACE|PUT)$",
            "$request_method !~ ^(GET|POST)$",
            "$uri ~ ^/it",
            "$http_x_debug = 1",
            "$http_x !~ y",
            "$arg_x = 1",
            "$is_debugged",
            "$request_method = $http_x",
        )
    ),
    quiet(
        "NGX090",
        "the condition answers with another status",
        hiding("if ($request_method != POST) { add_header Allow POST; return 405; }"),
    ),
    quiet(
        "NGX090",
        "whether a later condition held is not known",
        hiding(f"if ($request_method = GET) {HIDES} if ($http_origin ~ x) {{ {CORS}; }}"),
    ),
    quiet("NGX090", "a monitor asks for its health", asked_at("/health")),
    quiet("NGX090", "a monitor asks for its state", asked_at("/nginx_status")),
    quiet("NGX090", "a monitor asks for the head", asked_at("/items", method="HEAD")),
    quiet("NGX090", "pages show pictures of any site", asked_at("/assets/logo.png")),
    quiet("NGX090", "strangers may not ask", asked_at("/items", inner="auth_basic x; add_header X-A b;")),
    quiet(
        "NGX090",
        "the service answers pages itself",
        asked_at("/items", backend__predict=packed_answer((("Vary", "Accept, Origin"),))),
    ),
    quiet("NGX090", "nobody asks across sites", adding(ASKED, "add_header X-C d;", "add_header X-A b;")),
    fires("NGX090", "errors lack it", failing(), "404"),
    quiet("NGX090", "errors have it too", failing(outer=f"{CORS} always;")),
    quiet("NGX090", "no browser met the errors", failing(BY_CURL)),
    quiet("NGX090", "pages of this site met the errors", failing(OWN_PAGE)),
    quiet("NGX090", "the path is never served", failing(path="/wp-login.php", served=False)),
    quiet("NGX090", "the clients had gone", failing(status="499")),
    quiet("NGX090", "nginx closed without an answer", failing(status="444")),
    fires("NGX091", "a types block replaces those above", typed(OWN), "/static/app.css", "text/plain"),
    fires(
        "NGX091", "no types are included", typed("default_type application/octet-stream;", ""), "octet-stream"
    ),
    quiet("NGX091", "the types are in force", typed("")),
    quiet(
        "NGX091",
        "the location says it itself",
        typed(OWN, location="alias /s/; types { } default_type text/css;"),
    ),
    *(
        quiet("NGX091", f"the type is meant: {lines}", typed(OWN, location=f"alias /s/; {lines}"))
        for lines in (
            "types { } default_type application/octet-stream;",
            "add_header Content-Disposition attachment;",
            "add_header Content-Type text/css;",
            "more_set_headers 'Content-Type: text/css';",
        )
    ),
    fires(
        "NGX091",
        "the table was emptied, and nothing was chosen in its place",
        typed("default_type text/plain;", location="alias /s/; types { }"),
        "/static/app.css",
    ),
    quiet("NGX091", "the service sends it", typed(OWN, location="proxy_pass http://gte_backend;")),
    fires(
        "NGX092",
        "nginx asks for it in the client's name",
        packed("proxy_set_header Accept-Encoding gzip;"),
        "gzip",
    ),
    fires("NGX092", "the service does not look", packed()),
    quiet("NGX092", "it comes as it is", packed(encoding="identity")),
    quiet(
        "NGX092",
        "nginx hands on what the client takes",
        packed("proxy_set_header Accept-Encoding $http_accept_encoding;", by_service=False),
    ),
    fires("NGX093", "the cache does not heed cookies", cached(IGNORED), "proxy_ignore_headers Set-Cookie"),
    quiet("NGX093", "the cache heeds them", cached(CACHE)),
    quiet(
        "NGX093", "users have keys of their own", cached(f"{IGNORED} proxy_cache_key $uri$cookie_session;")
    ),
    quiet("NGX093", "known users pass it by", cached(f"{IGNORED} proxy_no_cache $http_authorization;")),
    fires(
        "NGX093",
        "the cache heeds nothing of what the service says",
        cached(f"{CACHE} proxy_ignore_headers Set-Cookie Cache-Control;", routes=(BY_COOKIE, BY_HEADER)),
        "/srv/app.py:8",
        "/srv/app.py:9",
    ),
    fires(
        "NGX093",
        "the key is of the request alone",
        cached(f"{IGNORED} proxy_cache_key $scheme$host$request_uri;"),
    ),
    *(
        quiet("NGX093", f"users may be told apart, or are nobody: {lines}", cached(f"{IGNORED} {lines}"))
        for lines in (
            "proxy_cache_key $uri$http_x_api_key;",
            "proxy_cache_key $uri$arg_token;",
            "proxy_cache_key $uri$remote_addr;",
            "proxy_cache_bypass $is_private; proxy_no_cache $is_private;",
            "proxy_no_cache $upstream_http_set_cookie;",
            "proxy_set_header Cookie '';",
            "proxy_hide_header Set-Cookie;",
        )
    ),
    quiet("NGX093", "the service marks nothing", cached(IGNORED, routes=())),
    quiet("NGX093", "the service marks another path", cached(IGNORED, "/models")),
    quiet("NGX093", "one of its marks counts", cached(IGNORED, routes=(BY_COOKIE, BY_HEADER))),
    quiet("NGX093", "the other host has the rest", cached(IGNORED, site=PAIR)),
    quiet("NGX093", "nothing is kept", cached("proxy_cache pages; proxy_ignore_headers Set-Cookie;")),
    fires(
        "NGX093",
        "the service's own answer says so",
        but(
            cached(f"{CACHE} proxy_ignore_headers Cache-Control;", "= /health", routes=()),
            logs__nginx_access__traffic=traffic(GOOD, answered("200", 9, path="/health", method="GET")),
            backend__health=packed_answer((("Cache-Control", "no-store"),)),
        ),
        "no-store",
    ),
    quiet("NGX093", "the service is asked each time", cached(IGNORED, asked=5)),
    quiet("NGX093", "it is a picture", cached(IGNORED, "/items/logo.png")),
    fires("NGX086", "a balancer speaks plainly", in_the_clear(length=PAGE_497), "497"),
    fires("NGX086", "Ubuntu's nginx signs the page", in_the_clear(length=OF_UBUNTU), "497"),
    fires(
        "NGX086",
        "its answers say with what name it signs",
        but(
            in_the_clear(length=PAGE_497 + len(" (Ours)")),
            front__health=exchange(server="nginx/1.22.1 (Ours)"),
        ),
        "497",
    ),
    quiet("NGX086", "it is another 400", in_the_clear(length=150.0)),
    quiet("NGX086", "a scanner asks for the root", in_the_clear(length=PAGE_497, path="/")),
    quiet("NGX086", "a scanner asks a few times", in_the_clear(length=PAGE_497, count=4)),
    fires("TLS028", "the certificate is for clients", refused_by(26), "unsuitable certificate purpose"),
    fires("TLS028", "an authority may not sign for the name", refused_by(47, "permitted subtree violation")),
    quiet("TLS028", "nothing leads to a root", refused_by(20, "unable to get local issuer certificate")),
    quiet("TLS028", "it has expired", refused_by(10, "certificate has expired")),
    quiet("TLS028", "this host has no roots", refused_by(-1)),
    fires("TLS029", "nginx staples nothing", stapled(), "status_request"),
    quiet("TLS029", "nginx staples", stapled("ssl_stapling on;")),
    quiet("TLS029", "nobody demands it", stapled(must=False)),
    fires("TLS030", "the list ran out yesterday", listed(-1), "clients.crl", "CN=Clients"),
    quiet("TLS030", "the list counts until tomorrow", listed(1)),
    quiet("TLS030", "the list has no end", listed(None)),
    quiet("TLS030", "a current list of the issuer is beside the old one", listed(-1, clients=5)),
    fires("TLS030", "the current list is another issuer's", listed(-1, guests=5), "CN=Clients"),
    quiet("TLS030", "nobody asks clients for certificates", listed(-1, "ssl_crl clients.crl;")),
    fires("NGX007", "WebSockets last as long as nginx waits", lasting(60.0, 60.2, 60.9), "60s"),
    quiet("NGX007", "WebSockets are left by their pages", lasting(2.0, 31.0, 600.0)),
    quiet("NGX007", "WebSockets last longer: the service says something", lasting(60.0, 600.0, 9000.0)),
    fires(
        "NGX046", "a condition leaves try_files out", left_out(ORIGIN), "if ($http_origin ~ x)", "try_files"
    ),
    fires(
        "NGX046",
        "the pages were built one directory deeper",
        no_index("/srv/manual/html/index.html"),
        "directory index of",
        "alias /srv/manual/;",
        severity="warn",
    ),
    fires(
        "NGX046",
        "the site's own pages lead there",
        no_index("/srv/manual/html/index.html", led=f', referrer: "https://{DOMAIN}/"'),
        severity="fail",
    ),
    quiet(
        "NGX046",
        "users are sent the directory's own files",
        no_index(
            "/srv/manual/dist/index.html",
            logs__nginx_access=logged(
                NGINX_ACCESS_LOG, answered("304", 9, path="/manual/css/site.css", method="GET")
            ),
        ),
    ),
    quiet("NGX046", "no page is there for the directory", no_index("")),
    quiet("NGX046", "two asked for it", no_index("/srv/manual/html/index.html", count=2)),
    quiet("NGX046", "no condition stands beside try_files", left_out("")),
    quiet("NGX046", "the condition ends the request", left_out("if ($http_origin) { return 204; }")),
    fires("NGX086", "a form is sent to a page that lies there", posted(FILES), "try_files"),
    quiet("NGX086", "the service itself takes no POST", posted(FILES, answered("405", 5, path="/contact"))),
    quiet(
        "NGX086", "405 goes on to the service", posted(FILES.replace("try", "error_page 405 = @service; try"))
    ),
    fires("NGX083", "two slashes become one", within(DOUBLED), "/img/"),
    quiet("NGX083", "nginx keeps both slashes", within(DOUBLED, UNMERGED)),
    quiet(
        "NGX083",
        "the path goes on as it came",
        within(answered("400", 5, path="/a/https://m.example", method="GET")),
    ),
    quiet(
        "NGX083",
        "a scanner doubles the first slash",
        within(answered("404", 5, path="//img/a", method="GET")),
    ),
    fires("TLS024", "nginx holds the port of certbot's own server", by_own_server(), "standalone"),
    quiet("TLS024", "nobody holds that port", by_own_server(8888)),
    quiet("TLS024", "a hook stops nginx before", by_own_server(hooks={"pre": "systemctl stop nginx"})),
    quiet("TLS024", "it was renewed in time", by_own_server(days=80)),
    fires(
        "DNS002",
        "the name leads elsewhere too",
        resolved("203.0.113.5", "198.51.100.7"),
        "198.51.100.7",
        severity="warn",
    ),
    quiet(
        "DNS002",
        "every address is expected",
        resolved("203.0.113.5", "198.51.100.7", expected=("203.0.113.5", "198.51.100.7")),
    ),
    quiet(
        "DNS002",
        "this host's other address is not among the expected ones",
        but(resolved("203.0.113.5", "2001:db8::7"), host__addresses=("203.0.113.5", "2001:db8::7")),
    ),
    quiet(
        "DNS002",
        "the address that is not among the expected ones presents this certificate",
        but(resolved("203.0.113.5", "2001:db8::7"), elsewhere=HERE_TOO),
    ),
    fires(
        "DNS002",
        "one presents this certificate, another does not",
        but(resolved("203.0.113.5", "2001:db8::7", "198.51.100.7"), elsewhere=HERE_TOO),
        severity="warn",
        facts={"addresses": "198.51.100.7"},
    ),
    quiet(
        "DNS002",
        "nobody said which are expected",
        but(resolution__addresses=("127.0.0.1", "198.51.100.7"), target__expected_addresses=()),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cause_is_proven_where_it_is_and_only_there(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    "case",
    [
        fires(
            "NGX007",
            "clients come again each five seconds",
            coming_back(5, 5, 9),
            "5 s apart",
            severity="warn",
        ),
        quiet("NGX007", "they come again later", coming_back(5, 40, 60)),
        quiet("NGX007", "some went by themselves before", coming_back(2, 5, 6)),
        quiet("NGX007", "a monitor that asks every minute", coming_back(60, 60, 61, waits="60s")),
    ],
    ids=str,
)
def test_websockets_that_are_opened_again_at_once_were_cut(case: Case) -> None:
    hold(case)


def test_a_line_about_most_of_the_websockets_proves_it_too() -> None:
    one, four = (answered("101", count, path="/ws", method="GET") for count in (3, 4))
    assert "NGX007" not in found(users(GOOD, four, said=IDLE, level="info"))
    lines = [entry(IDLE, level="info", ago=ago) for ago in (60, 50)]
    finding = found(users(GOOD, one, logs__nginx_errors=nginx_logs(*lines)))["NGX007"]
    assert any("while proxying upgraded connection" in proof.detail.en for proof in finding.evidence)


@pytest.mark.parametrize("name", ["server", "listen", "\u00a0proxy_pass", "server_name "])
def test_a_directive_of_every_nginx_that_is_unknown_has_a_character_that_is_not_shown(name: str) -> None:
    words = nginx_message.advice(f'unknown directive "{name}"', SITE_FILE, "1", "/etc/nginx/nginx.conf")
    assert "BOM" in words.en
    assert f"sed -i 's/\\xEF\\xBB\\xBF//g; s/\\xE2\\x80\\x8B//g; s/\\xC2\\xA0/ /g' {SITE_FILE}" in words.zh
    for other in ("lissten", "stream", "more_set_headers"):
        assert "BOM" not in nginx_message.advice(f'unknown directive "{other}"', SITE_FILE, "1", "x").en


GIVEN = [case for case in CASES if case.code.startswith("NGX09")]


@pytest.mark.parametrize("case", GIVEN, ids=str)
def test_a_bundle_s_configuration_proves_the_same(case: Case) -> None:
    config = case.snapshot.nginx_config
    assert isinstance(config, NginxConfig)
    assert (case.code in found(but(case.snapshot, nginx_config=redacted_nginx(config)))) is case.proven


def test_a_condition_that_hides_the_prediction_s_try_files_is_no_missing_location() -> None:
    lost = answered("404", 5, path="/predict")
    file = UnservedFile(
        "/srv/public/predict", 2, "POST /predict", "*1 open() failed", NGINX_ERROR_LOG, 5, NOW - 60
    )
    changes = {"front__predict": page(404, "Not Found", **PREDICT), "logs__unserved_files": (file,)}
    findings = found(but(at_site(FILES.replace("CONDITION", ORIGIN), lost), **changes))
    assert "NGX031" not in findings
    assert "http.404" in (findings["NGX046"].explains or ())


def test_the_record_to_delete_is_named_by_its_kind() -> None:
    finding = found(resolved("203.0.113.5", "2001:db8::7"))["DNS002"]
    assert DOMAIN in (finding.summary.en if finding.summary else "")
    assert "AAAA record of 2001:db8::7" in str(finding.fix)


USUAL = """types {
    text/html                             html htm shtml;
    text/css                              css;
    application/javascript                js;
}
"""


def with_usual_types(site: str, path: str, directory: Path) -> tuple[Snapshot, dict[str, Path]]:
    """A configuration in files: the site's, and mime.types, which http includes."""
    files = {"mime": directory / "mime.types", "site": directory / "site.conf"}
    files["mime"].write_text(USUAL)
    files["site"].write_text(site)
    config = nginx_config(SITE)
    *others, http = config.directives
    inside = (*directives(USUAL, str(files["mime"])), *directives(site, str(files["site"])))
    asked = answered("200", 5, path=path, method="GET")
    config = msgspec.structs.replace(
        config, directives=(*others, msgspec.structs.replace(http, block=inside))
    )
    return but(users(GOOD, asked), nginx_config=config), files


def carried_out(snapshot: Snapshot, code: str) -> None:
    """Run the edits among the steps of a finding."""
    steps = found(snapshot)[code].fix or ()
    for step in steps:
        if isinstance(step, str) and step.startswith("sed "):
            subprocess.run(shlex.split(step), check=True)


def test_a_type_that_the_usual_table_lacks_is_a_line_in_it(tmp_path: Path) -> None:
    site = SITE.replace(PLACE, f"    location /app/ {{ root /srv; }}\n{PLACE}")
    snapshot, files = with_usual_types(site, "/app/main.mjs", tmp_path)
    carried_out(snapshot, "NGX091")
    (table,) = directives(files["mime"].read_text())
    assert Directive("application/javascript", ("mjs",), SITE_FILE, 3) in (table.block or ())
    assert files["site"].read_text() == site


@pytest.mark.parametrize(
    ("lines", "edited"),
    [
        ("types { text/html html; }", "include {mime};\ntypes {{ text/html html; }}"),
        (
            "location /s/ { types { text/html html; } alias /s/; }",
            "location /s/ {{ include {mime}; types {{ text/html html; }} alias /s/; }}",
        ),
    ],
)
def test_the_usual_types_are_put_beside_the_block_s_own(tmp_path: Path, lines: str, edited: str) -> None:
    place = lines if lines.startswith("location") else f"{lines}\nlocation /s/ {{ alias /s/; }}"
    site = SITE.replace(PLACE, f"{place}\n{PLACE}")
    snapshot, files = with_usual_types(site, "/s/app.css", tmp_path)
    carried_out(snapshot, "NGX091")
    assert edited.format(mime=files["mime"]) in files["site"].read_text()
    assert files["mime"].read_text() == USUAL


def test_a_block_that_no_other_table_helps_gets_the_line(tmp_path: Path) -> None:
    site = SITE.replace(PLACE, f"location /s/ {{ types {{ text/html html; }} alias /s/; }}\n{PLACE}")
    snapshot, files = with_usual_types(site, "/s/app.wasm", tmp_path)
    carried_out(snapshot, "NGX091")
    assert "types { application/wasm wasm; text/html html; } alias" in files["site"].read_text()


def test_only_the_header_is_taken_out_of_a_location_on_one_line(tmp_path: Path) -> None:
    location = "location = /predict { proxy_set_header Accept-Encoding gzip; proxy_pass http://gte_backend; }"
    site = SITE.replace(PLACE, f"{location}\n{PLACE}")
    snapshot, files = with_usual_types(site, "/predict", tmp_path)
    packs = packed("proxy_set_header Accept-Encoding gzip;")
    carried_out(but(packs, nginx_config=snapshot.nginx_config), "NGX092")
    assert "location = /predict {  proxy_pass http://gte_backend; }" in files["site"].read_text()


def test_no_command_takes_a_directory_s_files_from_their_addresses() -> None:
    fix = found(no_index("/srv/manual/html/index.html"))["NGX046"].fix or ()
    assert not any(isinstance(step, str) and step.startswith("sed") for step in fix)
    assert "alias /srv/manual/html/;" in str(fix)
