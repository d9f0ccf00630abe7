"""certbot's other lineages, and one whose links have become files."""

from __future__ import annotations

import msgspec
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


def steps_beside(*others: Lineage, own_file: Certificate = OLD, server: str | None = None) -> str:
    """The steps where the served certificate has expired, and certbot keeps these lineages beside the site's."""
    own = lineage(
        certificate=PemFile(path=LEAF_FILE.path, resolved=LEAF_FILE.path, certificates=(own_file,)),
        renewal=msgspec.structs.replace(lineage().renewal, server=server),
    )
    snapshot = but(
        served__chain=(OLD,),
        certificates__leaf=own.certificate,
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(own,), others=others),
    )
    finding = found(snapshot).get("TLS008")
    return "" if finding is None else str(finding.summary) + str(finding.fix)


def test_a_forgotten_reload_moves_nginx_to_no_other_lineage() -> None:
    renewed = certificate(not_after=NOW + 89 * DAY, fingerprint="0c" * 32)
    other = kept(f"{DOMAIN}-0001", certificate(not_after=NOW + 30 * DAY, fingerprint="0b" * 32))
    assert f"{DOMAIN}-0001" not in steps_beside(other, own_file=renewed)
    assert f"{DOMAIN}-0001" in steps_beside(other)


def test_the_best_of_several_lineages_is_meant() -> None:
    good = [
        kept(f"{DOMAIN}-000{n}", certificate(not_after=NOW + n * 20 * DAY, fingerprint=f"{n:02x}" * 32))
        for n in (1, 3, 2)
    ]
    assert f"{DOMAIN}-0003" in steps_beside(*good)


def test_a_certificate_that_browsers_refuse_is_none_to_move_to() -> None:
    staging = certificate(
        not_after=NOW + 89 * DAY, issuer="C=US,O=(STAGING) Let's Encrypt,CN=(STAGING) Fennel R11"
    )
    own = certificate(not_after=NOW + 89 * DAY, self_signed=True)
    for refused in (staging, own):
        assert steps_beside(kept(f"{DOMAIN}-0001", refused)) == ""
    trial = kept(f"{DOMAIN}-0001", certificate(not_after=NOW + 89 * DAY))
    trial = msgspec.structs.replace(
        trial, renewal=msgspec.structs.replace(trial.renewal, server="https://ca.internal/acme")
    )
    assert steps_beside(trial, server="https://acme-v02.api.letsencrypt.org/directory") == ""


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
