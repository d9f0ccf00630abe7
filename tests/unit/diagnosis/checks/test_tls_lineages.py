"""certbot's other lineages, and one whose links have become files."""

from __future__ import annotations

import pytest

from ops.facts.certificates import Certificate, Lineage, Lineages, PemFile
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    DAY,
    DOMAIN,
    KEY_FILE,
    LEAF_FILE,
    NOW,
    SITE,
    but,
    certificate,
    lineage,
    nginx_config,
)

OLD = certificate(not_before=NOW - 91 * DAY, not_after=NOW - DAY, fingerprint="0a" * 32)
SHOP = "shop.example.net"


def kept(name: str, leaf: Certificate) -> Lineage:
    live = f"/etc/letsencrypt/live/{name}"
    file = PemFile(path=f"{live}/fullchain.pem", resolved=f"{live}/fullchain.pem", certificates=(leaf,))
    return lineage(name=name, live=live, certificate=file, key=KEY_FILE)


def expired_beside(other: Certificate, *, served_old: bool = True) -> Snapshot:
    leaf = OLD if served_old else LEAF_FILE.certificates[0]
    own = lineage(certificate=PemFile(path=LEAF_FILE.path, resolved=LEAF_FILE.path, certificates=(leaf,)))
    others = (kept(f"{DOMAIN}-0001", other),)
    return but(
        served__chain=(leaf,),
        certificates__leaf=own.certificate,
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(own,), others=others),
    )


def test_a_valid_certificate_in_another_lineage_is_named_and_nginx_led_to_it() -> None:
    finding = found(expired_beside(certificate(not_after=NOW + 60 * DAY, fingerprint="0b" * 32)))["TLS008"]
    steps = " | ".join(step if isinstance(step, str) else step.en for step in finding.fix or ())
    assert f"live/{DOMAIN}-0001" in steps
    assert "ssl_certificate" in " ".join(e.detail.en for e in finding.evidence)


@pytest.mark.parametrize("linked", [True, False])
def test_files_in_place_of_certbot_s_links_are_made_links_again(linked: bool) -> None:
    snapshot = but(
        served__chain=(OLD,),
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(lineage(linked=linked),)),
    )
    finding = found(snapshot)["TLS001"]
    steps = " | ".join(step if isinstance(step, str) else step.en for step in finding.fix or ())
    proofs = " | ".join(e.detail.en for e in finding.evidence)
    assert ("symbolic link" in proofs) is not linked
    assert (f"ln -s ../../archive/{DOMAIN}/" in steps) is not linked


def other_name(leaf: Certificate, name: str = SHOP) -> Snapshot:
    block = (
        f"server {{ listen 443 ssl; server_name {name}; ssl_certificate /etc/letsencrypt/live/{SHOP}/fullchain.pem;"
        f" ssl_certificate_key /etc/letsencrypt/live/{SHOP}/privkey.pem; }}\n"
    )
    others = (kept(SHOP, leaf),)
    return but(
        nginx_config=nginx_config(SITE + block),
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(lineage(),), others=others),
    )


def test_the_expired_certificate_of_another_name_is_a_warning() -> None:
    finding = found(other_name(certificate(names=(SHOP,), not_after=NOW - DAY)))["TLS025"]
    assert finding.severity is not None
    assert finding.severity.value == "warn"
    assert f"certbot renew --cert-name {SHOP}" in (finding.fix or ())


CASES = [
    quiet(
        "TLS008",
        "the other lineage is for another name",
        expired_beside(certificate(names=("other.example",), not_after=NOW + 60 * DAY)),
    ),
    quiet("TLS008", "the other lineage has expired too", expired_beside(certificate(not_after=NOW - 60))),
    quiet(
        "TLS008",
        "the other lineage has another key",
        expired_beside(certificate(public_key="99" * 32, not_after=NOW + 60 * DAY)),
    ),
    quiet(
        "TLS008",
        "the own lineage is good for long",
        expired_beside(certificate(not_after=NOW + 80 * DAY), served_old=False),
    ),
    fires(
        "TLS025",
        "another name's has expired",
        other_name(certificate(names=(SHOP,), not_after=NOW - DAY)),
        "notAfter",
        severity="warn",
        facts={"door": SHOP},
    ),
    quiet("TLS025", "another name's is valid", other_name(certificate(names=(SHOP,)))),
    quiet(
        "TLS025",
        "it is a dummy for strangers",
        other_name(certificate(names=("dummy.invalid",), not_after=NOW - DAY), "_"),
    ),
    quiet(
        "TLS025",
        "it was not made for that name",
        other_name(certificate(names=("dummy.invalid",), not_after=NOW - DAY)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
