"""Certificates: the one served, and the files on disk."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks.tls import when
from ops.facts.base import NotSeen
from ops.facts.certificates import (
    AcmePair,
    ArchivedPair,
    Certificate,
    Certificates,
    FileProblem,
    KeyFile,
    Lineage,
    Lineages,
    OldTls,
    PemDefect,
    PemDefectKind,
    PemFile,
    RenewalConf,
)
from ops.facts.nginx import NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.safeguards import CronEntry, Schedule, Timer
from ops.facts.snapshot import Snapshot
from ops.facts.target import ExpiryRule
from ops.text.duration import Margin
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    DAY,
    DOMAIN,
    FRONT,
    GUNICORN_LISTENER,
    GUNICORN_PROCESSES,
    HEALTHY,
    INTERMEDIATE,
    LINEAGE,
    NOW,
    SITE,
    but,
    certificate,
    exchange,
    lineage,
    nginx_config,
    processes,
    refused,
    without_nginx,
)

NO_ISSUER = "unable to get local issuer certificate"


def served(
    leaf: Certificate | None = None, *, chain: tuple[Certificate, ...] | None = None, **more: Any
) -> Snapshot:
    """The front door presents this, and the same lies on disk."""
    chain = chain or (leaf or certificate(), INTERMEDIATE)
    return but(
        served__chain=chain,
        certificates__leaf=pem(*chain),
        **{f"served__{name}": value for name, value in more.items()},
    )


def lasting(lifetime: float, left: float) -> Snapshot:
    """A certificate for ``lifetime`` days of which ``left`` are left."""
    return served(certificate(not_before=NOW - (lifetime - left) * DAY, not_after=NOW + left * DAY))


def pem(*chain: Certificate, **changes: Any) -> PemFile:
    path = f"{LINEAGE}/fullchain.pem"
    return PemFile(
        **{"path": path, "resolved": path, "modified": NOW - 10 * DAY, "certificates": chain, **changes}
    )


def key(**changes: Any) -> KeyFile:
    path = f"{LINEAGE}/privkey.pem"
    return KeyFile(**{"path": path, "resolved": path, "mode": 0o600, "public_key": "bb" * 32, **changes})


def untrusted(
    code: int, *chain: Certificate, nearby: tuple[PemFile, ...] = (), reason: str = NO_ISSUER
) -> Snapshot:
    return but(
        served__chain=chain,
        served__trust_code=code,
        served__trust_error=reason,
        certificates__leaf=pem(*chain),
        certificates__nearby=nearby,
    )


def nginx_says(line: str, *, root: bool = True) -> Snapshot:
    return but(
        host__is_root=root,
        nginx_test=NginxTest(command=("nginx", "-t"), exit_code=1, lines=(f"nginx: [emerg] {line}",)),
    )


def renewed(*, served_until: float, modified: float = NOW - 3600) -> Snapshot:
    """A newer certificate lies on disk than the one served, which ends in so many seconds."""
    old = certificate(not_before=NOW - 90 * DAY, not_after=NOW + served_until)
    new = certificate(fingerprint="ee" * 32, serial="5C", not_before=NOW - 2 * 3600)
    return but(
        served__chain=(old, INTERMEDIATE), certificates__leaf=pem(new, INTERMEDIATE, modified=modified)
    )


ACME_HOME = "/root/.acme.sh"


def kept_elsewhere(
    *,
    served_until: float = -3600,
    until: float = 80 * DAY,
    names: tuple[str, ...] = (DOMAIN,),
    public_key: str = "cc" * 32,
) -> Snapshot:
    """acme.sh has a newer pair in its own directory; nginx reads a copy of the old one."""
    old = certificate(not_before=NOW - 90 * DAY, not_after=NOW + served_until)
    new = certificate(
        fingerprint="ee" * 32,
        serial="5C",
        not_before=NOW - 2 * DAY,
        not_after=NOW + until,
        names=names,
        public_key="cc" * 32,
    )
    directory = f"{ACME_HOME}/{DOMAIN}_ecc"
    chain, private = f"{directory}/fullchain.cer", f"{directory}/{DOMAIN}.key"
    pair = AcmePair(
        "acme.sh",
        ACME_HOME,
        PemFile(path=chain, resolved=chain, certificates=(new, INTERMEDIATE)),
        KeyFile(path=private, resolved=private, public_key=public_key),
    )
    return but(
        served__chain=(old, INTERMEDIATE),
        certificates__leaf=pem(old, INTERMEDIATE),
        certificates__elsewhere=(pair,),
        target__certificate="/etc/nginx/ssl/site.pem",
        target__private_key="/etc/nginx/ssl/site.key",
    )


def rules(snapshot: Snapshot, *expiry_rules: ExpiryRule) -> Snapshot:
    return but(snapshot, target__expiry_rules=expiry_rules)


def protocols(level: str, written: str) -> Snapshot:
    """ssl_protocols at the http level, in the site's block, or the former overridden by the latter."""
    http = f"ssl_protocols {written};" if level in ("http", "both") else ""
    own = {"http": "", "server": f"ssl_protocols {written};", "both": "ssl_protocols TLSv1.3;"}[level]
    return but(nginx_config=nginx_config(http + SITE.replace("listen 443 ssl;", f"listen 443 ssl; {own}")))


def lineage_set(**changes: Any) -> Lineages:
    return Lineages(directory="/etc/letsencrypt", lineages=(lineage(**changes),))


def lineages(*items: Lineage) -> Snapshot:
    return but(lineages=Lineages(directory="/etc/letsencrypt", lineages=items))


def timer(**changes: Any) -> Timer:
    return msgspec.structs.replace(HEALTHY.schedule.timers[0], **changes)


def cron(command: str) -> CronEntry:
    return CronEntry(file="/etc/cron.d/certbot", line=17, when="0 */12 * * *", user="root", command=command)


def scheduled(*jobs: Timer | CronEntry) -> Snapshot:
    """These jobs and no others."""
    return but(
        schedule=Schedule(
            cron=tuple(job for job in jobs if isinstance(job, CronEntry)),
            timers=tuple(job for job in jobs if isinstance(job, Timer)),
        )
    )


DEBIAN_CRON = cron("test -x /usr/bin/certbot -a \\! -d /run/systemd/system && sleep 9 && certbot -q renew")
SELF_SIGNED = certificate(issuer=f"CN={DOMAIN}", self_signed=True, issuer_url="")
PRIVATE = certificate(issuer="CN=Our CA", issuer_url="")
PRIVATE_ROOT = certificate(
    subject="CN=Our CA", issuer="CN=Our CA", names=(), self_signed=True, is_authority=True, issuer_url=""
)
BESIDE = PemFile(path=f"{LINEAGE}/chain.pem", resolved=f"{LINEAGE}/chain.pem", certificates=(INTERMEDIATE,))

SIGNED = certificate(signed_by=INTERMEDIATE.fingerprint)
UNSIGNED = certificate(signed_by="", issuer_url="")
LAST_YEARS = msgspec.structs.replace(INTERMEDIATE, fingerprint="2f" * 32, signed_by="", not_after=NOW + DAY)
OTHER_AUTHORITY = msgspec.structs.replace(LAST_YEARS, subject="C=US,O=Let's Encrypt,CN=R3")
PLACED = ((1, 20), (21, 40))


def laid_out(*defects: PemDefect, snapshot: Snapshot = HEALTHY, **changes: Any) -> Snapshot:
    """The certificate file with these faults in its lines."""
    return but(
        snapshot,
        certificates__leaf=pem(
            *changes.pop("chain", (certificate(),)), defects=defects, places=PLACED, **changes
        ),
    )


JOINED = PemDefect(
    kind=PemDefectKind.JOINED, line=20, label="CERTIFICATE", begins=20, is_hidden=False, is_whole=True
)
INDENTED = PemDefect(
    kind=PemDefectKind.INDENTED, line=21, label="CERTIFICATE", begins=21, is_hidden=True, is_whole=True
)


def archived(version: int = 2, *, matches: bool = True, **changes: Any) -> ArchivedPair:
    """A version of the lineage above the one that live/ leads to."""
    folder = f"/etc/letsencrypt/archive/{DOMAIN}"
    new = certificate(
        **{"fingerprint": "ee" * 32, "not_before": NOW - DAY, "not_after": NOW + 89 * DAY, **changes}
    )
    return ArchivedPair(
        version=version,
        certificate=new,
        matches=matches,
        chain_path=f"{folder}/fullchain{version}.pem",
        key_path=f"{folder}/privkey{version}.pem",
    )


def left_behind(*newer: ArchivedPair, left: float) -> Snapshot:
    """live/ leads to a certificate that has so many days left, and these lie in the archive."""
    return but(lasting(90, left), lineages=lineage_set(newer=newer))


def two_names(*names: str, listens: str = "listen 443 ssl;") -> Snapshot:
    """The site answers to these names."""
    written = SITE.replace(
        f"listen 443 ssl;\n    server_name {DOMAIN};", f"{listens}\n    server_name {' '.join(names)};"
    )
    assert written.count(" ".join(names)) >= 1
    return but(nginx_config=nginx_config(written))


def ended(detail: str, site: str) -> Snapshot:
    """nginx ends the handshake with an alert."""
    broken = exchange(failure=ProbeFailure.TLS, detail=f"TLS handshake: {detail}")
    return but(
        front__health=broken,
        front__predict=broken,
        served=NotSeen(reason="no handshake"),
        nginx_config=nginx_config(site),
    )


def with_ciphers(ciphers: str, protocols: str = "TLSv1.2") -> str:
    return SITE.replace(
        "listen 443 ssl;", f"listen 443 ssl; ssl_protocols {protocols}; ssl_ciphers {ciphers};"
    )


REJECTING = "server { listen 443 ssl default_server; ssl_reject_handshake on; }"
UNRECOGNIZED, NO_CIPHER = "tlsv1 unrecognized name", "sslv3 alert handshake failure"
OLD_INTERMEDIATE = msgspec.structs.replace(INTERMEDIATE, not_after=NOW - DAY)
CROSS_SIGNED = msgspec.structs.replace(
    INTERMEDIATE,
    subject="C=US,O=ISRG,CN=ISRG Root X1",
    issuer="O=Digital Signature Trust Co.,CN=DST Root CA X3",
    fingerprint="2c" * 32,
    not_after=NOW - DAY,
)


CASES: list[Case] = [
    fires(
        "TLS001",
        "the intermediate that signed it is past its dates",
        served(chain=(certificate(), OLD_INTERMEDIATE)),
        "CN=R10",
        severity="fail",
        facts={"ago": "24h"},
    ),
    fires(
        "TLS001",
        "an old cross-certificate above it, which newer clients do without",
        served(chain=(certificate(), INTERMEDIATE, CROSS_SIGNED)),
        severity="warn",
    ),
    quiet(
        "TLS001",
        "what did not sign it is past its dates",
        served(
            chain=(certificate(), INTERMEDIATE, msgspec.structs.replace(CROSS_SIGNED, subject="CN=other"))
        ),
    ),
    fires(
        "TLS004",
        "the name with www is the site's too",
        two_names(DOMAIN, f"www.{DOMAIN}"),
        f"www.{DOMAIN}",
        severity="warn",
    ),
    quiet("TLS004", "another name, which may lead elsewhere", two_names(DOMAIN, "old.example.org")),
    quiet("TLS004", "a name of this machine", two_names(DOMAIN, "localhost", "_")),
    fires(
        "TLS027",
        "the site's name is misspelt, and the default server rejects",
        ended(
            UNRECOGNIZED,
            SITE.replace(f"server_name {DOMAIN};\n    ssl", "server_name gte-api.exmaple.com;\n    ssl")
            + REJECTING,
        ),
        "gte-api.exmaple.com",
        "ssl_reject_handshake on;",
    ),
    fires(
        "TLS027",
        "the site listens at another port, and the default server of the door rejects",
        ended(UNRECOGNIZED, SITE.replace("listen 443 ssl;", "listen 8443 ssl;") + REJECTING),
        "listen 8443 ssl;",
        "ssl_reject_handshake on;",
    ),
    quiet("TLS027", "strangers alone are rejected", ended(UNRECOGNIZED, SITE + REJECTING)),
    quiet("TLS027", "the handshake comes about", but(nginx_config=nginx_config(REJECTING + SITE))),
    fires(
        "TLS026",
        "ciphers for RSA keys alone",
        ended(NO_CIPHER, with_ciphers("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA")),
        "ECDHE-RSA-AES128-GCM-SHA256",
        facts={"key": "ECDSA"},
    ),
    quiet(
        "TLS026",
        "one of them is for ECDSA keys",
        ended(NO_CIPHER, with_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")),
    ),
    quiet(
        "TLS026",
        "TLS 1.3 is allowed",
        ended(NO_CIPHER, with_ciphers("ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2 TLSv1.3")),
    ),
    quiet("TLS026", "the handshake comes about", but(nginx_config=nginx_config(with_ciphers("AES128-SHA")))),
    fires(
        "TLS001",
        "notAfter is past",
        lasting(90, -3),
        "notAfter",
        severity="fail",
        facts={"ago": "3d"},
    ),
    quiet("TLS001", "a day is left", lasting(90, 1)),
    quiet("TLS002", "an expired certificate is TLS001 alone", lasting(90, -3)),
    # Under a quarter of the lifetime, at most 30 days; fail under a tenth or 24 h.
    quiet("TLS002", "200 days, 31 left", lasting(200, 31)),
    fires("TLS002", "200 days, 29 left", lasting(200, 29), severity="warn", facts={"left": "29d"}),
    fires("TLS002", "200 days, 19 left", lasting(200, 19), severity="fail"),
    quiet("TLS002", "90 days, 23 left", lasting(90, 23)),
    fires("TLS002", "90 days, 22 left", lasting(90, 22), severity="warn"),
    fires("TLS002", "90 days, 9.5 left", lasting(90, 9.5), severity="warn"),
    fires("TLS002", "90 days, 8.5 left", lasting(90, 8.5), severity="fail"),
    quiet("TLS002", "45 days, 12 left", lasting(45, 12)),
    fires("TLS002", "45 days, 11 left", lasting(45, 11), severity="warn"),
    fires("TLS002", "45 days, 4 left", lasting(45, 4), severity="fail"),
    # Lifetimes under ten days: 35 % and 15 %, or 24 h.
    quiet("TLS002", "6 days, 2.2 left", lasting(6, 2.2)),
    fires("TLS002", "6 days, 2 left", lasting(6, 2.0), severity="warn"),
    fires("TLS002", "6 days, 25 hours left", lasting(6, 25 / 24), severity="warn"),
    fires("TLS002", "6 days, 23 hours left", lasting(6, 23 / 24), severity="fail"),
    fires("TLS002", "9.5 days, 34 hours left: under 15 %", lasting(9.5, 34 / 24), severity="fail"),
    quiet("TLS002", "11 days, 3 left: a quarter counts from ten days on", lasting(11, 3)),
    fires("TLS003", "notBefore lies ahead", lasting(90, 91), "notBefore", severity="fail"),
    quiet("TLS003", "valid since a minute", served(certificate(not_before=NOW - 60))),
    fires(
        "TLS004",
        "issued for other names",
        served(certificate(names=("www.example.org", "example.org"))),
        "www.example.org, example.org",
        severity="fail",
    ),
    fires("TLS004", "a wildcard stands for one label", served(certificate(names=("*.com",)))),
    fires(
        "TLS004", "a wildcard does not stand for the bare name", served(certificate(names=(f"*.{DOMAIN}",)))
    ),
    fires("TLS004", "the subject's common name does not count", served(certificate(names=()))),
    quiet("TLS004", "a wildcard one label above", served(certificate(names=("*.example.com",)))),
    quiet("TLS004", "names are compared without case", served(certificate(names=(DOMAIN.upper(),)))),
    quiet("TLS004", "one of several", served(certificate(names=("a.example.com", DOMAIN)))),
    quiet(
        "TLS004",
        "nobody told a name: localhost is only what stands in for it",
        but(
            served__chain=(certificate(names=("www.example.org",)),),
            target__domain="localhost",
            target__origin={"domain": "default"},
        ),
    ),
    fires(
        "TLS005",
        "self-signed",
        untrusted(18, SELF_SIGNED, reason="self-signed certificate"),
        "self-signed certificate",
        severity="fail",
        facts={"reason": "self-signed certificate"},
    ),
    fires(
        "TLS005",
        "the chain ends in a root outside the trust store",
        untrusted(19, PRIVATE, PRIVATE_ROOT, reason="self-signed certificate in certificate chain"),
        facts={"issuer": "CN=Our CA"},
    ),
    fires(
        "TLS005",
        "only the private root is missing, which no server sends",
        untrusted(
            20, PRIVATE, nearby=(PemFile(path="/ca.pem", resolved="/ca.pem", certificates=(PRIVATE_ROOT,)),)
        ),
    ),
    quiet("TLS005", "the chain leads to a trusted root", HEALTHY),
    quiet("TLS005", "an expired leaf is no question of trust", but(served__trust_code=10)),
    fires(
        "TLS006",
        "the leaf alone is served and the intermediate lies beside it",
        untrusted(20, certificate(issuer_url=""), nearby=(BESIDE,)),
        f"{LINEAGE}/chain.pem",
        severity="fail",
        facts={"intermediate": f"{LINEAGE}/chain.pem"},
    ),
    fires(
        "TLS006", "a public authority's intermediate is missing from the file", untrusted(20, certificate())
    ),
    fires(
        "TLS006",
        "the configured file holds the intermediate that is not sent",
        but(
            untrusted(20, certificate(issuer_url="")),
            certificates__leaf=pem(certificate(issuer_url=""), INTERMEDIATE),
        ),
        facts={"intermediate": f"{LINEAGE}/fullchain.pem"},
    ),
    quiet("TLS005", "a missing intermediate is TLS006 alone", untrusted(20, certificate(), nearby=(BESIDE,))),
    quiet("TLS006", "it is served, and its root is not trusted", untrusted(20, certificate(), INTERMEDIATE)),
    fires(
        "TLS020",
        "an intermediate of one name and another key is sent",
        but(
            untrusted(20, UNSIGNED, LAST_YEARS, nearby=(BESIDE,)),
            certificates__leaf=pem(UNSIGNED, LAST_YEARS, places=PLACED),
        ),
        f"{LINEAGE}/fullchain.pem:21",
        severity="fail",
        facts={"sent": LAST_YEARS.subject, "issuer": "C=US,O=Let's Encrypt,CN=R10"},
    ),
    fires("TLS020", "another authority's intermediate", untrusted(20, UNSIGNED, OTHER_AUTHORITY)),
    quiet(
        "TLS020",
        "in an older bundle, where signatures were not looked at",
        untrusted(20, certificate(), OTHER_AUTHORITY),
    ),
    quiet("TLS006", "a wrong intermediate is sent: not 'only the leaf'", untrusted(20, UNSIGNED, LAST_YEARS)),
    quiet("TLS020", "the leaf alone is sent", untrusted(20, UNSIGNED, nearby=(BESIDE,))),
    quiet(
        "TLS020", "the right one is sent, and its root is not trusted", untrusted(20, SIGNED, INTERMEDIATE)
    ),
    quiet("TLS020", "a root is sent along", untrusted(19, PRIVATE, PRIVATE_ROOT)),
    quiet(
        "TLS020",
        "a foreign one beside the right one, and all trust it",
        served(chain=(SIGNED, INTERMEDIATE, LAST_YEARS)),
    ),
    fires(
        "TLS006",
        "the root is sent along, and the intermediate is not",
        untrusted(20, certificate(signed_by="", issuer_url=""), PRIVATE_ROOT, nearby=(BESIDE,)),
        facts={"intermediate": f"{LINEAGE}/chain.pem"},
    ),
    fires(
        "TLS021",
        "two blocks are joined, nginx is down",
        laid_out(JOINED, snapshot=without_nginx(), problem=FileProblem.NOT_PEM, detail="-"),
        f"{LINEAGE}/fullchain.pem:20",
        severity="fail",
        facts={"path": f"{LINEAGE}/fullchain.pem", "line": "20"},
    ),
    fires("TLS021", "nginx still serves what it loaded before", laid_out(JOINED), severity="warn"),
    fires(
        "TLS021",
        "the intermediate is passed over, so clients do not trust the site",
        laid_out(INDENTED, snapshot=untrusted(20, certificate()), hidden=(INTERMEDIATE,)),
        severity="fail",
    ),
    fires(
        "TLS021",
        "the key file",
        but(certificates__key=key(public_key=None, problem=FileProblem.NOT_PEM, defects=(INDENTED,))),
        f"{LINEAGE}/privkey.pem:21",
    ),
    quiet("TLS021", "a file without faults", HEALTHY),
    quiet(
        "TLS021",
        "the file is only where the guide would have it",
        but(laid_out(JOINED), target__origin={**HEALTHY.target.origin, "certificate": "guide"}),
    ),
    quiet(
        "TLS012", "lines that are wrong are TLS021", laid_out(JOINED, problem=FileProblem.NOT_PEM, detail="-")
    ),
    fires(
        "TLS022",
        "the key's certificate is the second of the file",
        laid_out(chain=(INTERMEDIATE, certificate())),
        f"{LINEAGE}/fullchain.pem:21",
        severity="warn",
        facts={"line": "21", "first": INTERMEDIATE.subject},
    ),
    fires(
        "TLS022",
        "and nginx is down",
        laid_out(chain=(INTERMEDIATE, certificate()), snapshot=without_nginx()),
        severity="fail",
    ),
    quiet("TLS022", "the site's is first", laid_out(chain=(certificate(), INTERMEDIATE))),
    quiet("TLS022", "the key belongs to none of them", but(certificates__key=key(public_key="99" * 32))),
    quiet("TLS007", "the wrong order alone", laid_out(chain=(INTERMEDIATE, certificate()))),
    fires(
        "TLS023",
        "what is served ends soon",
        left_behind(archived(), left=15),
        "fullchain2.pem",
        severity="warn",
    ),
    fires("TLS023", "what is served has ended", left_behind(archived(), left=-1), severity="fail"),
    quiet(
        "TLS023",
        "the older one is good for long: somebody may have meant it",
        left_behind(archived(), left=60),
    ),
    quiet("TLS023", "its key is another's", left_behind(archived(matches=False), left=-1)),
    quiet("TLS023", "it has ended too", left_behind(archived(not_after=NOW - 60), left=-1)),
    quiet("TLS023", "it is for another name", left_behind(archived(names=("other.example",)), left=-1)),
    quiet("TLS023", "nothing newer is there", left_behind(left=-1)),
    quiet("TLS006", "self-signed needs none", untrusted(18, SELF_SIGNED, nearby=(BESIDE,))),
    quiet("TLS006", "the leaf alone chains all the same", served(chain=(certificate(),))),
    fires(
        "TLS007",
        "the public keys differ; nginx still serves the old pair",
        but(certificates__key=key(public_key="99" * 32)),
        "public key sha256 bbbb",
        "public key sha256 9999",
        severity="warn",
    ),
    fires(
        "TLS007",
        "the newer of the two is named",
        but(certificates__key=key(public_key="99" * 32, modified=NOW - DAY)),
        "the newer of the two",
    ),
    fires(
        "TLS007",
        "the public keys differ and nginx is down",
        but(without_nginx(), certificates__key=key(public_key="99" * 32)),
        severity="fail",
    ),
    fires(
        "TLS007",
        "another server block's pair, by nginx's own test",
        nginx_says('SSL_CTX_use_PrivateKey("/etc/ssl/other.key") failed (key values mismatch)'),
        "key values mismatch",
    ),
    quiet(
        "TLS007",
        "an encrypted key tells nothing",
        but(certificates__key=key(public_key=None, problem=FileProblem.ENCRYPTED)),
    ),
    quiet("TLS007", "a key that may not be read tells nothing", but(certificates__key=NotSeen(reason="-"))),
    fires(
        "TLS008",
        "the file is newer; the served one is still valid",
        renewed(served_until=5 * DAY),
        "serial 3A",
        "serial 5C",
        severity="warn",
    ),
    fires("TLS008", "the served one has expired", renewed(served_until=-3600), severity="fail"),
    fires(
        "TLS008",
        "acme.sh has renewed its own, and nobody copied it",
        kept_elsewhere(),
        f"{ACME_HOME}/{DOMAIN}_ecc/fullchain.cer",
        severity="fail",
    ),
    fires(
        "TLS008", "the copy expires soon", kept_elsewhere(served_until=5 * DAY), "serial 5C", severity="warn"
    ),
    quiet("TLS008", "the copy is good for long", kept_elsewhere(served_until=60 * DAY)),
    quiet("TLS008", "it is for another name", kept_elsewhere(names=("other.example",))),
    quiet("TLS008", "its key is another's", kept_elsewhere(public_key="77" * 32)),
    quiet("TLS008", "it has expired too", kept_elsewhere(until=-60)),
    fires(
        "TLS008",
        "the file changed after nginx's workers started, whatever its dates",
        but(
            served__chain=(certificate(not_before=NOW - 5 * DAY, fingerprint="11" * 32), INTERMEDIATE),
            certificates__leaf=pem(certificate(), INTERMEDIATE, modified=NOW - 660),
        ),
    ),
    quiet(
        "TLS008",
        "the file changed nine minutes ago: the hook has ten",
        renewed(served_until=5 * DAY, modified=NOW - 540),
    ),
    quiet(
        "TLS008",
        "the file was read after the snapshot's time, and changed in between",
        renewed(served_until=5 * DAY, modified=NOW + 5),
    ),
    fires(
        "TLS008",
        "eleven minutes ago",
        renewed(served_until=5 * DAY, modified=NOW - 660),
        severity="warn",
    ),
    fires(
        "TLS008",
        "a minute ago, but what is served has expired",
        renewed(served_until=-5, modified=NOW - 60),
        severity="fail",
    ),
    quiet(
        "TLS008",
        "the clock was set back after the file was written, and the served one is the newer",
        but(
            served__chain=(certificate(not_before=NOW - 5 * DAY, fingerprint="11" * 32), INTERMEDIATE),
            certificates__leaf=pem(certificate(), INTERMEDIATE, modified=NOW + 8 * 3600),
        ),
    ),
    fires(
        "TLS008", "the file's time is still to come", renewed(served_until=5 * DAY, modified=NOW + 8 * 3600)
    ),
    quiet("TLS008", "the same certificate", HEALTHY),
    quiet(
        "TLS008",
        "the served one differs but is the newer one",
        but(
            served__chain=(certificate(not_before=NOW - 5 * DAY, fingerprint="11" * 32), INTERMEDIATE),
            certificates__leaf=pem(certificate(), INTERMEDIATE, modified=NOW - 9 * DAY),
        ),
    ),
    quiet(
        "TLS008",
        "the file is only where the guide would have it",
        but(renewed(served_until=-3600), target__origin={**HEALTHY.target.origin, "certificate": "guide"}),
    ),
    fires(
        "TLS002",
        "settings ask for more time for this name",
        rules(lasting(90, 50), ExpiryRule(names=("*.example.com",), warn=Margin(share=0.6))),
        severity="warn",
    ),
    fires(
        "TLS002",
        "settings ask for more time, in days",
        rules(lasting(90, 50), ExpiryRule(names=(DOMAIN,), fail=Margin(seconds=60 * DAY))),
        severity="fail",
    ),
    quiet(
        "TLS002",
        "settings allow this name less",
        rules(
            lasting(90, 5), ExpiryRule(names=(DOMAIN,), warn=Margin(seconds=4 * DAY), fail=Margin(share=0.03))
        ),
    ),
    quiet(
        "TLS002",
        "settings for another name",
        rules(lasting(90, 50), ExpiryRule(names=("*.example.org",), warn=Margin(share=0.9))),
    ),
    fires(
        "TLS009",
        "both handshakes succeed",
        but(old_tls=OldTls(address=FRONT, accepted=("TLSv1", "TLSv1.1"))),
        "handshake succeeds",
        severity="warn",
        facts={"version": "TLS 1.0, TLS 1.1"},
    ),
    fires(
        "TLS009",
        "the site's block allows one, whatever the handshake says",
        protocols("server", "TLSv1.1 TLSv1.2"),
        "ssl_protocols TLSv1.1 TLSv1.2;",
        facts={"version": "TLS 1.1"},
    ),
    fires(
        "TLS009",
        "the http level does, and the handshake could not be tried",
        but(protocols("http", "TLSv1 TLSv1.2"), old_tls=NotSeen(reason="-")),
    ),
    quiet("TLS009", "the site's block overrides it", protocols("both", "TLSv1 TLSv1.2")),
    quiet("TLS009", "TLS 1.2 and 1.3", protocols("server", "TLSv1.2 TLSv1.3")),
    quiet("TLS009", "nothing is set, and both are refused", HEALTHY),
    fires(
        "TLS010",
        "everybody may read",
        but(certificates__key=key(mode=0o644, resolved="/etc/letsencrypt/archive/x/privkey1.pem")),
        "mode 0644",
        severity="warn",
        facts={"path": "/etc/letsencrypt/archive/x/privkey1.pem", "mode": "0644"},
    ),
    fires("TLS010", "the group may read", but(certificates__key=key(mode=0o640))),
    quiet("TLS010", "the owner alone", but(certificates__key=key(mode=0o400))),
    quiet(
        "TLS010", "the key is missing", but(certificates__key=key(mode=None, problem=FileProblem.DANGLING))
    ),
    quiet(
        "TLS010",
        "its mode was not seen",
        but(certificates__key=key(mode=None, problem=FileProblem.UNREADABLE)),
    ),
    fires(
        "TLS011",
        "no renewal configuration",
        lineages(lineage(renewal=RenewalConf(path="/r.conf", problem=FileProblem.MISSING))),
        "no renewal configuration",
        severity="warn",
        facts={"lineage": DOMAIN},
    ),
    fires(
        "TLS011",
        "renewal is switched off",
        lineages(lineage(renewal=RenewalConf(path="/r.conf", autorenew=False))),
        "autorenew = False",
    ),
    fires("TLS011", "nothing is scheduled", scheduled(), "no cron entry"),
    fires("TLS011", "the timer is not enabled", scheduled(timer(enabled=False)), "it is not enabled"),
    fires(
        "TLS011",
        "a timer where systemd does not run",
        but(scheduled(timer()), host__has_systemd=False),
        "systemd does not run here",
    ),
    fires("TLS011", "Debian's cron entry where systemd runs", scheduled(DEBIAN_CRON), "where systemd runs"),
    fires(
        "TLS011",
        "certbot is scheduled, but not to renew",
        scheduled(cron("certbot certificates")),
    ),
    quiet(
        "TLS011", "Debian's cron entry without systemd", but(scheduled(DEBIAN_CRON), host__has_systemd=False)
    ),
    *(
        quiet("TLS011", f"cron runs {command}", scheduled(cron(command)))
        for command in (
            "certbot -q renew",
            "/snap/bin/certbot renew --quiet",
            "certbot certonly --keep-until-expiring -n -d x",
            "docker run --rm certbot/certbot renew",
            "/root/renew-certs.sh",
            "/opt/cert_renew.py",
        )
    ),
    quiet(
        "TLS011",
        "the snap's timer",
        scheduled(
            timer(name="snap.certbot.renew.timer", commands=('/usr/bin/snap run --timer="x" certbot.renew',))
        ),
    ),
    quiet("TLS011", "the timer is enabled", scheduled(timer())),
    quiet(
        "TLS011",
        "users' crontabs were not seen",
        but(scheduled(), schedule__unseen=(NotSeen(reason="/var/spool/cron/crontabs", needs_root=True),)),
    ),
    quiet(
        "TLS011", "plain files in live/ are no lineage", but(scheduled(), lineages=lineage_set(linked=False))
    ),
    quiet(
        "TLS011",
        "a certificate from elsewhere",
        but(
            scheduled(),
            target__certificate="/etc/ssl/own.pem",
            certificates__leaf=pem(certificate(), resolved="/etc/ssl/own.pem"),
        ),
    ),
    quiet(
        "TLS011", "certbot's directory may not be read", but(lineages=NotSeen(reason="-", needs_root=True))
    ),
    *(
        fires(
            "TLS012",
            f"the certificate file is {problem}",
            but(without_nginx(), certificates__leaf=pem(problem=problem, certificates=())),
            severity="fail",
            facts={"path": f"{LINEAGE}/fullchain.pem", "problem": problem},
        )
        for problem in ("missing", "dangling", "unreadable", "not_pem", "empty")
    ),
    fires(
        "TLS012",
        "the key file is missing",
        but(certificates__key=key(problem=FileProblem.MISSING, public_key=None)),
    ),
    fires(
        "TLS012",
        "while nginx still serves, it is the next reload that fails",
        but(certificates__leaf=pem(problem=FileProblem.MISSING, certificates=())),
        severity="warn",
    ),
    fires(
        "TLS012",
        "another server block's file, by nginx's own test",
        nginx_says(
            'cannot load certificate "/etc/ssl/other.pem": BIO_new_file() failed (No such file or directory)'
        ),
        facts={"path": "/etc/ssl/other.pem", "problem": "missing"},
    ),
    quiet("TLS012", "both files are readable", HEALTHY),
    quiet(
        "TLS012",
        "a permission that the doctor lacks, not nginx",
        but(host__is_root=False, certificates__leaf=pem(problem=FileProblem.UNREADABLE, certificates=())),
    ),
    quiet(
        "TLS012",
        "the same, met by nginx -t",
        nginx_says(
            f'cannot load certificate key "{LINEAGE}/privkey.pem": (13: Permission denied)', root=False
        ),
    ),
    quiet(
        "TLS012",
        "nothing names the file: it is only where the guide would have it",
        but(
            target__origin={"certificate": "guide", "private_key": "guide"},
            certificates=Certificates(
                leaf=pem(problem=FileProblem.MISSING, certificates=()),
                key=key(problem=FileProblem.MISSING, public_key=None),
            ),
        ),
    ),
    quiet(
        "TLS012",
        "an encrypted key is there",
        but(certificates__key=key(problem=FileProblem.ENCRYPTED, public_key=None)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_a_missing_file_is_not_called_a_mismatch_too() -> None:
    snapshot = but(certificates__key=key(problem=FileProblem.MISSING, public_key="99" * 32))
    assert {"TLS007", "TLS012"} & found(snapshot).keys() == {"TLS012"}


def test_a_refused_front_door_hurts_now_even_with_nginx_running() -> None:
    snapshot = but(
        front__connection=refused(FRONT), certificates__leaf=pem(problem=FileProblem.MISSING, certificates=())
    )
    assert found(snapshot)["TLS012"].severity is None  # the catalogue's: fail


def test_no_server_no_worker_no_crash() -> None:
    snapshot = but(
        renewed(served_until=5 * DAY),
        processes=processes(GUNICORN_PROCESSES, listeners=(GUNICORN_LISTENER,)),
    )
    assert "TLS008" in found(snapshot)


@pytest.mark.parametrize("moment", [-1e18, -1.0, 1e12, 1e18, math.inf, math.nan])
def test_dates_outside_the_calendar_are_told_and_do_not_crash(moment: float) -> None:
    assert when(moment)


def mending(snapshot: Snapshot, code: str) -> tuple[str, ...]:
    """The steps of a finding, in English."""
    steps = found(snapshot)[code].fix or ()
    return tuple(step if isinstance(step, str) else step.en for step in steps)


def test_the_fix_names_the_key_that_fits_and_moves_the_link_as_certbot_keeps_it() -> None:
    archive = f"/etc/letsencrypt/archive/{DOMAIN}"
    other = key(path=f"{archive}/privkey2.pem", resolved=f"{archive}/privkey2.pem")
    mismatch = but(
        certificates__key=key(public_key="99" * 32, resolved=f"{archive}/privkey1.pem"),
        certificates__other_keys=(other,),
    )
    assert mending(mismatch, "TLS007") == (
        f"ln -sfn ../../archive/{DOMAIN}/privkey2.pem {LINEAGE}/privkey.pem",
        "nginx -t",
        "systemctl reload nginx",
    )


def test_the_fix_of_a_lost_key_names_the_lineage() -> None:
    steps = mending(but(certificates__key=key(public_key="99" * 32)), "TLS007")
    assert f"certbot renew --force-renewal --cert-name {DOMAIN}" in steps
    assert not [step for step in steps if "NAME" in step]


def test_the_fix_of_links_left_behind_moves_all_four() -> None:
    assert mending(left_behind(archived(3), left=-1), "TLS023")[0] == (
        f"for f in cert chain fullchain privkey; do ln -sfn ../../archive/{DOMAIN}/${{f}}3.pem {LINEAGE}/$f.pem; done"
    )


CRON_LINE = "echo '41 4,16 * * * root certbot -q renew' > /etc/cron.d/certbot-renew"


@pytest.mark.parametrize(
    ("snapshot", "step"),
    [
        (scheduled(timer(enabled=False)), "systemctl enable --now certbot.timer"),
        (but(scheduled(timer()), host__has_systemd=False), CRON_LINE),
        (scheduled(), CRON_LINE),
        (
            lineages(lineage(renewal=RenewalConf(path="/r.conf", autorenew=False))),
            "sed -i --follow-symlinks 's/^autorenew[[:space:]]*=.*/autorenew = True/' /r.conf",
        ),
        (
            lineages(lineage(renewal=RenewalConf(path="/r.conf", problem=FileProblem.MISSING))),
            f"certbot certonly --cert-name {DOMAIN} -d {DOMAIN} --force-renewal",
        ),
    ],
)
def test_what_is_to_renew_is_what_this_host_lacks(snapshot: Snapshot, step: str) -> None:
    fix = found(snapshot)["TLS011"].fix
    assert fix is not None
    assert [line for line in fix if isinstance(line, str)] == [
        step,
        f"certbot renew --cert-name {DOMAIN} --dry-run",
    ]


def test_a_certificate_without_names_is_not_said_to_be_for_a_dash() -> None:
    summary = found(but(served__chain=(certificate(names=()), INTERMEDIATE)))["TLS004"].summary
    assert summary is not None
    assert "no subjectAltName" in summary.en
    assert "-," not in summary.en


def test_the_copy_of_a_renewed_pair_is_made_by_the_client_itself() -> None:
    steps = found(kept_elsewhere())["TLS008"].fix or ()
    assert (
        f"{ACME_HOME}/acme.sh --install-cert -d {DOMAIN} --ecc --key-file /etc/nginx/ssl/site.key"
        " --fullchain-file /etc/nginx/ssl/site.pem --reloadcmd 'systemctl reload nginx'"
    ) in steps


def test_a_copy_that_was_made_already_needs_a_reload_alone() -> None:
    copied = certificate(not_after=NOW + 89 * DAY, fingerprint="5f" * 32)
    finding = found(but(kept_elsewhere(), certificates__leaf=pem(copied, INTERMEDIATE)))["TLS008"]
    assert "--install-cert" not in str(finding.fix)


def test_without_the_key_s_path_no_command_writes_to_a_question_mark() -> None:
    steps = found(but(kept_elsewhere(), target__private_key=None))["TLS008"].fix or ()
    assert steps
    assert not any("?" in (step if isinstance(step, str) else step.en) for step in steps)


DER = PemDefect(kind=PemDefectKind.DER, line=1)


@pytest.mark.parametrize(
    ("nearby", "step"),
    [
        (("chain.pem",), "cat /etc/letsencrypt/live/chain.pem >>"),
        # The lineage's link and the file that it leads to hold the same.
        (("chain.pem", "chain1.pem"), "cat /etc/letsencrypt/live/chain.pem >>"),
        ((), "A DER file holds one certificate"),
    ],
)
def test_a_der_file_needs_the_intermediate_behind_its_certificate(nearby: tuple[str, ...], step: str) -> None:
    files = tuple(
        PemFile(path=path, resolved=path, certificates=(INTERMEDIATE,))
        for path in (f"/etc/letsencrypt/live/{name}" for name in nearby)
    )
    broken = msgspec.structs.replace(pem(), certificates=(), defects=(DER,))
    fix = found(but(certificates__leaf=broken, certificates__nearby=files))["TLS021"].fix or ()
    assert [one for one in map(str, fix) if step in one], fix
