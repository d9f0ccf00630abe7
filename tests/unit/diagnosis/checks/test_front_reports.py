"""The kinds behind the front's part of the sixth collection of public reports, and the near misses that stay quiet."""

from __future__ import annotations

from typing import Any

import pytest

from ops.diagnosis import nginx_message
from ops.facts.certificates import Lineages, RenewalConf, RevocationList
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Spread, UnservedFile
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_fifth_collection import GOOD, OF, users
from tests.unit.made_snapshot import (
    DAY,
    DOMAIN,
    NGINX_ERROR_LOG,
    NOW,
    SITE,
    SITE_FILE,
    answered,
    but,
    certificate,
    entry,
    lineage,
    nginx_config,
    nginx_logs,
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


# --- rules for certificates


def refused_by(code: int, words: str = "unsuitable certificate purpose") -> Snapshot:
    return but(served__trust_code=code, served__trust_error=words)


def stapled(lines: str = "", *, must: bool = True) -> Snapshot:
    """The certificate may demand a stapled answer; the site has further lines."""
    site = SITE.replace(
        "    location / {\n        limit_req", f"    {lines}\n    location / {{\n        limit_req"
    )
    return but(served__chain=(certificate(must_staple=must),), nginx_config=nginx_config(site))


def listed(days: float | None, lines: str = "ssl_verify_client on; ssl_crl clients.crl;") -> Snapshot:
    """The list of revoked certificates counts for so many days more."""
    until = None if days is None else NOW + days * DAY
    item = RevocationList(path="/etc/nginx/clients.crl", issuer="CN=Clients", next_update=until)
    return but(stapled(lines, must=False), certificates__revocations=(item,))


CASES = (
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
    quiet("TLS030", "nobody asks clients for certificates", listed(-1, "ssl_crl clients.crl;")),
    fires("NGX007", "WebSockets last as long as nginx waits", lasting(60.0, 60.2, 60.9), "60s"),
    quiet("NGX007", "WebSockets are left by their pages", lasting(2.0, 31.0, 600.0)),
    quiet("NGX007", "WebSockets last longer: the service says something", lasting(60.0, 600.0, 9000.0)),
    fires(
        "NGX046", "a condition leaves try_files out", left_out(ORIGIN), "if ($http_origin ~ x)", "try_files"
    ),
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
        "nobody said which are expected",
        but(resolution__addresses=("127.0.0.1", "198.51.100.7"), target__expected_addresses=()),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cause_is_proven_where_it_is_and_only_there(case: Case) -> None:
    hold(case)


def test_a_line_about_most_of_the_websockets_proves_it_too() -> None:
    one, four = (answered("101", count, path="/ws", method="GET") for count in (3, 4))
    assert "NGX007" not in found(users(GOOD, four, said=IDLE, level="info"))
    lines = [entry(IDLE, level="info", ago=ago) for ago in (60, 50)]
    finding = found(users(GOOD, one, logs__nginx_errors=nginx_logs(*lines)))["NGX007"]
    assert any("while proxying upgraded connection" in proof.detail.en for proof in finding.evidence)


@pytest.mark.parametrize("name", ["server", "listen", "\u00a0proxy_pass"])
def test_a_directive_of_every_nginx_that_is_unknown_has_a_character_that_is_not_shown(name: str) -> None:
    words = nginx_message.advice(f'unknown directive "{name}"', SITE_FILE, "1", "/etc/nginx/nginx.conf")
    assert "BOM" in words.en
    assert f"sed -i 's/\\xEF\\xBB\\xBF//g; s/\\xE2\\x80\\x8B//g; s/\\xC2\\xA0/ /g' {SITE_FILE}" in words.zh
    for other in ("lissten", "stream", "more_set_headers"):
        assert "BOM" not in nginx_message.advice(f'unknown directive "{other}"', SITE_FILE, "1", "x").en


def test_the_record_to_delete_is_named_by_its_kind() -> None:
    finding = found(resolved("203.0.113.5", "2001:db8::7"))["DNS002"]
    assert DOMAIN in (finding.summary.en if finding.summary else "")
    assert "AAAA record of 2001:db8::7" in str(finding.fix)
