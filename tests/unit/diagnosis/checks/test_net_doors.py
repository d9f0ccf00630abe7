"""Every way to the front door, and the way of the authority that renews the certificate."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, Lineages, OtherDoor, PemFile, RenewalConf, Served
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    DAY,
    DOMAIN,
    FRONT,
    HEALTHY,
    INTERMEDIATE,
    LINEAGE,
    NOW,
    SITE,
    SITE_FILE,
    but,
    certificate,
    exchange,
    lineage,
    nginx_config,
    page,
    without_nginx,
)

V6 = "[2001:db8::10]:443"
RSA = {"fingerprint": "12" * 32, "key_type": "RSA 2048"}
NEW_RSA = {"fingerprint": "13" * 32, "key_type": "RSA 2048", "not_before": NOW - 60}
CHALLENGE = f"http://{DOMAIN}/.well-known/acme-challenge/gte-ops-0"


def served_at(address: str, leaf: Certificate, **changes: Any) -> Served:
    return Served(
        address=address, server_name=DOMAIN, chain=(leaf, INTERMEDIATE), protocol="TLSv1.2", **changes
    )


def refusing(address: str = V6) -> OtherDoor:
    return OtherDoor(
        address=address, failure=ProbeFailure.REFUSED, served=NotSeen(reason="connection refused")
    )


def doors(*others: OtherDoor, snapshot: Snapshot = HEALTHY) -> Snapshot:
    return but(snapshot, other_doors=others)


def of_kind(leaf: Certificate, **changes: Any) -> OtherDoor:
    return OtherDoor(address=FRONT, key="RSA", served=served_at(FRONT, leaf, **changes))


RSA_FILE = "/etc/nginx/rsa.pem"


def by_files(written: str, served: Certificate, on_disk: Certificate | None = None) -> Snapshot:
    """nginx has a second certificate, for RSA; the file that holds it may have been renewed since."""
    path = str(PurePosixPath("/etc/nginx") / written)
    second = f"    ssl_certificate {written}; ssl_certificate_key rsa.key;\n    ssl_certificate_key"
    file = PemFile(path=path, resolved=path, certificates=(on_disk or served,))
    door = OtherDoor(address=FRONT, key="RSA", served=served_at(FRONT, served), files=(file,))
    return but(
        other_doors=(door,),
        nginx_config=nginx_config(SITE.replace("    ssl_certificate_key", second, 1)),
    )


def challenged(
    *hops: Exchange,
    left: float = -1,
    plain: str = "",
    site: str = SITE,
    webroot: str | None = None,
    **renewal: Any,
) -> Snapshot:
    """The certificate has so many days left, and an authority meets these answers. ``plain``: directives in place of
    port 80's redirect."""
    leaf = certificate(not_before=NOW - (90 - left) * DAY, not_after=NOW + left * DAY)
    conf = RenewalConf(
        **{
            "path": "/etc/letsencrypt/renewal/x.conf",
            "authenticator": "webroot",
            "webroot": webroot,
            **renewal,
        }
    )
    redirect = "location / { return 308 https://gte-api.example.com$request_uri; }"
    return but(
        served__chain=(leaf, INTERMEDIATE),
        nginx_config=nginx_config(site.replace(redirect, f"{plain} {redirect}")),
        front__challenge=hops,
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(lineage(renewal=conf),)),
    )


def at_80(status: int, **more: Any) -> Exchange:
    return page(status, "-", url=CHALLENGE, address="127.0.0.1:80", **more)


def at_443(status: int) -> Exchange:
    return exchange(status, "{}", url=CHALLENGE.replace("http:", "https:"), address=FRONT)


HIDDEN = r"location ~ /\. { deny all; }"
TO_HTTPS = at_80(308, location=CHALLENGE.replace("http:", "https:"))

CASES: list[Case] = [
    fires(
        "NET011",
        "the name's IPv6 address refuses",
        doors(refusing()),
        f"tcp {V6} refused",
        severity="fail",
        facts={"address": V6, "family": "IPv6", "working": FRONT},
    ),
    fires("NET011", "another IPv4 address", doors(refusing("192.0.2.11:443")), severity="fail"),
    quiet(
        "NET011", "it takes connections", doors(OtherDoor(address=V6, served=served_at(V6, certificate())))
    ),
    quiet("NET011", "there is no other address", HEALTHY),
    quiet(
        "NET011",
        "the front is shut everywhere: that is another cause",
        doors(refusing(), snapshot=without_nginx()),
    ),
    quiet(
        "NET011",
        "a kind of key that the server has no certificate for is no address",
        doors(OtherDoor(address=FRONT, key="RSA", failure=None, served=NotSeen(reason="handshake failure"))),
    ),
    fires(
        "TLS025",
        "the one for RSA has expired",
        doors(of_kind(certificate(**RSA, not_after=NOW - 60))),
        "certificate has expired",
        severity="fail",
        facts={"door": f"{FRONT} (RSA)", "objections": "certificate has expired"},
    ),
    fires(
        "TLS025", "the one for RSA is not valid yet", doors(of_kind(certificate(**RSA, not_before=NOW + DAY)))
    ),
    fires(
        "TLS025",
        "another block answers over IPv6",
        doors(OtherDoor(address=V6, served=served_at(V6, certificate(**RSA, names=("other.example",))))),
        "hostname mismatch",
    ),
    fires(
        "TLS025",
        "the one for RSA comes without its intermediate",
        doors(
            of_kind(certificate(**RSA), trust_code=20, trust_error="unable to get local issuer certificate")
        ),
    ),
    fires(
        "TLS025",
        "the one for RSA is in a file of its own that nobody renews",
        by_files("rsa.pem", certificate(**RSA, not_after=NOW - 60)),
        f"{SITE_FILE}:13 ssl_certificate {RSA_FILE}",
        f"{RSA_FILE} RSA 2048",
    ),
    quiet("TLS025", "both are good", doors(of_kind(certificate(**RSA)))),
    quiet("TLS025", "it is the same certificate", doors(of_kind(certificate(not_after=NOW - 60)))),
    quiet(
        "TLS025",
        "the first one is bad as well: that is told by itself",
        doors(of_kind(certificate(**RSA, not_after=NOW - 60)), snapshot=challenged()),
    ),
    quiet(
        "TLS025",
        "that kind of key is not served",
        doors(OtherDoor(address=FRONT, key="RSA", served=NotSeen(reason="-"))),
    ),
    fires(
        "TLS024",
        "a rule for hidden files denies it",
        challenged(at_80(403), plain=HIDDEN),
        "deny all",
        severity="fail",
        facts={"where": f"{SITE_FILE}:7", "answer": "403"},
    ),
    fires(
        "TLS024", "the certificate ends soon", challenged(at_80(403), plain=HIDDEN, left=15), severity="warn"
    ),
    fires("TLS024", "it is redirected for ever", challenged(at_80(301, location=CHALLENGE))),
    fires(
        "TLS024",
        "port 80 is shut",
        challenged(exchange(failure=ProbeFailure.REFUSED, url=CHALLENGE, address="127.0.0.1:80")),
    ),
    fires(
        "TLS024",
        "the application is asked for the file",
        challenged(TO_HTTPS, at_443(404), webroot="/var/www/html"),
        "proxy_pass http://gte_backend",
        facts={"webroot": "/var/www/html"},
    ),
    quiet("TLS024", "the file is not there, as is right", challenged(at_80(404), webroot="/var/www/html")),
    quiet("TLS024", "where the webroot is, is not known", challenged(TO_HTTPS, at_443(404))),
    quiet("TLS024", "the certificate was renewed in time", challenged(at_80(403), plain=HIDDEN, left=80)),
    quiet(
        "TLS024",
        "DNS answers the challenge",
        challenged(at_80(403), plain=HIDDEN, authenticator="dns-route53"),
    ),
    quiet(
        "TLS024",
        "certbot's plugin answers it",
        challenged(at_80(403), plain=HIDDEN, authenticator="nginx"),
    ),
    quiet("TLS024", "nobody asked", challenged()),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_challenge_goes_before_the_expired_certificate() -> None:

    causes = diagnose(challenged(at_80(301, location=CHALLENGE)), CHECKS).causes
    assert [cause.code for cause in causes] == ["TLS024"]
    assert "TLS001" in causes[0].explains
    steps = [step.en for step in causes[0].fix]
    assert any("location ^~ /.well-known/acme-challenge/ { root /var/www/html;" in step for step in steps)
    assert f"certbot renew --cert-name {DOMAIN}" in steps
    assert "TLS001" in found(msgspec.structs.replace(challenged(at_80(403)), lineages=NotSeen(reason="-")))


@pytest.mark.parametrize(
    ("snapshot", "first"),
    [
        (
            by_files("rsa.pem", certificate(**RSA, not_after=NOW - 60)),
            f"Renew {RSA_FILE} (ssl_certificate at {SITE_FILE}:13)",
        ),
        (
            by_files(f"{LINEAGE}/fullchain.pem", certificate(**RSA, not_after=NOW - 60)),
            f"certbot renew --cert-name {DOMAIN}",
        ),
        (
            by_files("rsa.pem", certificate(**RSA, not_after=NOW - 60), certificate(**NEW_RSA)),
            "nginx -t",
        ),
        (
            by_files("rsa.pem", certificate(**RSA, not_after=NOW - 60), certificate(fingerprint="34" * 32)),
            f"Renew the certificate that {FRONT} (RSA) presents",
        ),
    ],
)
def test_the_file_that_is_to_be_renewed_is_named(snapshot: Snapshot, first: str) -> None:
    cause = next(cause for cause in diagnose(snapshot, CHECKS).causes if cause.code == "TLS025")
    assert cause.fix[0].en.startswith(first), cause.fix


OTHER_OVER_IPV6 = """
server {
    listen [2001:db8::10]:443 ssl;
    server_name other.example.com;
    ssl_certificate /etc/nginx/other.pem; ssl_certificate_key /etc/nginx/other.key;
    return 404;
}
"""


def answering_over_ipv6(site: str) -> Snapshot:
    """At the IPv6 address another name's certificate is presented."""
    other = certificate(names=("other.example.com",), fingerprint="34" * 32)
    door = OtherDoor(address=V6, served=served_at(V6, other))
    return but(other_doors=(door,), nginx_config=nginx_config(site))


def test_where_another_site_alone_listens_the_service_is_to_listen_too() -> None:
    finding = found(answering_over_ipv6(SITE + OTHER_OVER_IPV6))["TLS025"]
    assert finding.fix is not None
    assert "listen [2001:db8::10]:443 ssl;" in str(finding.fix[1])
    assert finding.verify is not None
    assert V6 in finding.verify


def test_where_the_service_listens_its_certificate_is_to_be_renewed() -> None:
    listening = SITE.replace("    listen 443 ssl;\n", f"    listen 443 ssl; listen {V6} ssl;\n", 1)
    assert listening != SITE
    fix = found(answering_over_ipv6(listening + OTHER_OVER_IPV6))["TLS025"].fix
    assert not any("listen [" in str(step) for step in fix or ())
