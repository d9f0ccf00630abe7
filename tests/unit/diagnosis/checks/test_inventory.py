"""Every certificate of a host judged: what is said of each, and how grave it is."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.certificates.assess import review
from ops.facts.base import NotSeen
from ops.facts.certificate_inventory import (
    CertificateSource,
    Endpoint,
    FilePair,
    Inventory,
    JudgedCertificate,
    Review,
    ServedThere,
)
from ops.facts.certificates import (
    CertbotRuns,
    Certificate,
    FileProblem,
    KeyFile,
    Lineage,
    Lineages,
    PemFile,
    RenewalAttempt,
    RenewalConf,
    RenewalOutcome,
    Served,
)
from ops.facts.safeguards import Schedule
from ops.facts.target import ExpiryRule
from ops.text.duration import Margin
from tests.unit.diagnosis.checks.cases import Case
from tests.unit.made_snapshot import DAY, DOMAIN, HEALTHY, INTERMEDIATE, LINEAGE, NOW, certificate, lineage

CASES: list[Case] = []
FULLCHAIN = f"{LINEAGE}/fullchain.pem"


def pair(leaf: Certificate | None = None, **changes: Any) -> FilePair:
    made = FilePair(
        certificate=PemFile(
            path=FULLCHAIN,
            resolved=FULLCHAIN,
            modified=NOW - 3600,
            certificates=(leaf or certificate(), INTERMEDIATE),
        ),
        path=FULLCHAIN,
        key=KeyFile(path="/key.pem", resolved="/key.pem", mode=0o600, public_key="bb" * 32),
        used_by=("/etc/nginx/conf.d/site.conf:3",),
        lineage=DOMAIN,
    )
    return msgspec.structs.replace(made, **changes)


def served(leaf: Certificate | None = None, *, name: str = DOMAIN, **changes: Any) -> ServedThere:
    end = Endpoint(
        address="127.0.0.1:443", name=name, expected=bool(name), origin="site.conf:3", file=FULLCHAIN
    )
    presented = Served(
        address="127.0.0.1:443",
        server_name=name,
        chain=(leaf or certificate(), INTERMEDIATE),
        protocol="TLSv1.3",
        **changes,
    )
    return ServedThere(endpoint=end, served=presented)


def host(**changes: Any) -> Inventory:
    made = Inventory(
        taken_at=NOW,
        has_systemd=True,
        is_root=True,
        files=(pair(),),
        served=(served(),),
        lineages=Lineages(directory="/etc/letsencrypt", lineages=(lineage(),)),
        runs=runs(),
        schedule=HEALTHY.schedule,
    )
    return msgspec.structs.replace(made, **changes)


def kept(changed: Lineage) -> Lineages:
    return Lineages(directory="/etc/letsencrypt", lineages=(changed,))


def runs(*attempts: RenewalAttempt, version: str = "4.1.0") -> CertbotRuns:
    return CertbotRuns(path="/l", last_run=NOW - 60, version=version, attempts=attempts)


def failed(ago: float, reason: str = "no") -> RenewalAttempt:
    return RenewalAttempt(lineage=DOMAIN, time=NOW - ago, outcome=RenewalOutcome.FAILED, reason=reason)


def lasting(lifetime: float, left: float, **changes: Any) -> Certificate:
    return certificate(not_before=NOW - (lifetime - left) * DAY, not_after=NOW + left * DAY, **changes)


def on_disk(judged: Review) -> JudgedCertificate:
    return next(one for one in judged.certificates if one.source is CertificateSource.FILE)


def in_use(judged: Review) -> JudgedCertificate:
    return next(one for one in judged.certificates if one.source is CertificateSource.SERVED)


def words(one: JudgedCertificate) -> str:
    return " | ".join(remark.text.en for remark in one.remarks)


def test_a_well_kept_host_is_ok() -> None:
    judged = review(host())
    assert (judged.status, judged.exit_code) == ("ok", 0)
    assert [one.remarks for one in judged.certificates] == [(), ()]
    file, wire = on_disk(judged), in_use(judged)
    assert (file.key_matches, wire.matches_disk, wire.chain_complete) == (True, True, True)
    assert file.renewal is not None
    assert file.renewal.jobs == ("certbot.timer",)
    assert file.renewal.due_at == NOW + 50 * DAY


def test_nothing_found_is_not_fine() -> None:
    empty = review(host(files=(), served=()))
    assert (empty.status, empty.exit_code) == ("unknown", 3)


def test_what_root_alone_could_have_seen_is_not_fine() -> None:
    hidden = NotSeen(reason="/etc/letsencrypt/live: permission denied", needs_root=True)
    assert review(host(unseen=(hidden,))).status == "unknown"


def test_the_gravest_comes_first_and_decides() -> None:
    soon, gone = lasting(90, 20, fingerprint="01" * 32), lasting(90, -1, fingerprint="02" * 32)
    judged = review(
        host(files=(pair(), pair(soon, path="/b", lineage=None), pair(gone, path="/c", lineage=None)))
    )
    assert [one.where for one in judged.certificates][:2] == ["/c", "/b"]
    assert (judged.status, judged.exit_code) == ("fail", 2)
    assert [one.reasons for one in judged.certificates][:2] == [("TLS001",), ("TLS002",)]


def test_dates_follow_settings_for_a_name() -> None:
    rule = ExpiryRule(names=(DOMAIN,), fail=Margin(seconds=100 * DAY))
    assert in_use(review(host(rules=(rule,)))).status == "fail"


def test_a_certificate_not_valid_yet() -> None:
    assert in_use(review(host(served=(served(lasting(90, 91)),)))).reasons == ("TLS003",)


def test_a_name_that_is_not_covered() -> None:
    wire = in_use(review(host(served=(served(name="other.example"),))))
    assert (wire.status, wire.reasons) == ("fail", ("TLS004",))


def test_a_catch_all_without_a_name_may_present_anything() -> None:
    own = certificate(self_signed=True, issuer=f"CN={DOMAIN}", names=())
    wire = in_use(
        review(host(files=(), served=(served(own, name="", trust_code=18, trust_error="self-signed"),)))
    )
    assert (wire.status, wire.reasons, wire.name) == ("ok", (), "127.0.0.1:443")


def test_an_untrusted_issuer_and_a_missing_intermediate() -> None:
    private = certificate(issuer="CN=Ours", issuer_url="")
    wire = in_use(review(host(files=(), served=(served(private, trust_code=20, trust_error="no issuer"),))))
    assert (wire.reasons, wire.chain_complete) == (("TLS005",), True)
    alone = msgspec.structs.replace(
        served().served, chain=(certificate(),), trust_code=20, trust_error="unable to get"
    )
    place = msgspec.structs.replace(served(), served=alone)
    wire = in_use(review(host(files=(), served=(place,))))
    assert (wire.reasons, wire.chain_complete) == (("TLS006",), False)


def test_renewed_on_disk_and_not_served() -> None:
    old = lasting(90, 40, fingerprint="0d" * 32)
    stale = in_use(review(host(served=(served(old),))))
    assert (stale.status, stale.reasons, stale.matches_disk) == ("warn", ("TLS008",), False)
    gone = lasting(90, -1, fingerprint="0d" * 32)
    assert in_use(review(host(served=(served(gone),)))).reasons == ("TLS001", "TLS008")
    fresh = pair()
    assert isinstance(fresh.certificate, PemFile)
    fresh = pair(certificate=msgspec.structs.replace(fresh.certificate, modified=NOW - 60))
    within = in_use(review(host(files=(fresh,), served=(served(old),))))
    assert (within.status, within.matches_disk) == ("ok", False)


def test_files_of_no_use() -> None:
    missing = PemFile(path="/x", resolved="/x", problem=FileProblem.MISSING, detail="/x does not exist")
    file = on_disk(review(host(files=(pair(certificate=missing, lineage=None),))))
    assert (file.status, file.reasons, file.certificate) == ("fail", ("TLS012",), None)
    hidden = NotSeen(reason="permission denied", needs_root=True)
    assert on_disk(review(host(files=(pair(certificate=hidden),)))).status == "unknown"


def test_keys() -> None:
    def with_key(**changes: Any) -> JudgedCertificate:
        key = KeyFile(**{"path": "/k", "resolved": "/k", "mode": 0o600, "public_key": "bb" * 32, **changes})
        return on_disk(review(host(files=(pair(key=key),))))

    assert with_key(public_key="99" * 32).reasons == ("TLS007",)
    assert with_key(mode=0o644).reasons == ("TLS010",)
    assert with_key(problem=FileProblem.MISSING, public_key=None, mode=None).reasons == ("TLS012",)
    assert with_key(problem=FileProblem.ENCRYPTED, public_key=None).reasons == ()


def test_an_endpoint_that_does_not_answer_is_unknown_not_fine() -> None:
    silent = msgspec.structs.replace(served(), served=NotSeen(reason="connection refused"))
    wire = in_use(review(host(served=(silent,))))
    assert (wire.status, wire.certificate, words(wire)) == ("unknown", None, "connection refused")


def test_nothing_renews_it() -> None:
    for changes in (
        {"schedule": Schedule(cron=(), timers=())},
        {"lineages": kept(lineage(renewal=RenewalConf(path="/r", problem=FileProblem.MISSING)))},
        {
            "lineages": kept(
                lineage(renewal=RenewalConf(path="/r", problem=FileProblem.MALFORMED, detail="line 3"))
            )
        },
    ):
        file = on_disk(review(host(**changes)))
        assert (file.status, file.reasons) == ("warn", ("TLS011",)), changes
    manual = on_disk(review(host(schedule=Schedule(cron=(), timers=()), files=(pair(lineage=None),))))
    assert manual.reasons == ()


def test_renewal_that_fails_is_told_with_certbots_reason() -> None:
    leaf = lasting(90, 25)
    once = review(host(files=(pair(leaf),), served=(served(leaf),), runs=runs(failed(3600, "403 Forbidden"))))
    assert (on_disk(once).status, once.status) == ("ok", "ok")
    assert "403 Forbidden" in words(on_disk(once))
    twice = review(
        host(
            files=(pair(leaf),),
            served=(served(leaf),),
            runs=runs(failed(90000), failed(3600, "403 Forbidden")),
        )
    )
    assert (on_disk(twice).status, on_disk(twice).reasons, on_disk(twice).stage) == (
        "warn",
        ("TLS002",),
        "warn",
    )
    renewal = on_disk(twice).renewal
    assert renewal is not None
    assert (renewal.failed_tries, renewal.reason) == (2, "403 Forbidden")
    # What is served belongs to the same lineage.
    assert in_use(twice).status == "warn"


def test_a_certbot_too_old_for_six_days_is_named() -> None:
    leaf = lasting(160 / 24, 6)
    file = on_disk(review(host(files=(pair(leaf),), runs=runs(version="2.1.0"))))
    assert file.status == "fail"
    assert "certbot 2.1.0" in words(file)
    assert on_disk(review(host(files=(pair(leaf),), runs=runs(version="4.0.0")))).status == "ok"
    early = on_disk(review(host(files=(pair(lasting(45, 40)),), runs=runs(version="2.1.0"))))
    assert early.status == "ok"
    assert "certbot 2.1.0" in words(early)


def test_what_leads_out_of_certbots_directory_is_told() -> None:
    file = on_disk(review(host(lineages=kept(lineage(outside=("/etc/shadow",))))))
    assert file.status == "warn"
    assert "/etc/shadow" in words(file)
