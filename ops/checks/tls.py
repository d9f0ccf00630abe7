"""Certificates: the one served, and the files on disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ops.duration import age
from ops.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.language import Text
from ops.snapshot import (
    Certificate,
    Certificates,
    Front,
    Host,
    KeyFile,
    NginxTest,
    NotSeen,
    PemFile,
    Pidfile,
    Processes,
    Served,
    Target,
)
from ops.topology import nginx as nginx_topology
from ops.topology.trust import covers

DAY = 86400.0
SHORT_LIFETIME = 10 * DAY
# OpenSSL's verify codes (x509_vfy.h) that mean: no path to a trusted root.
_NO_PATH = {2, 18, 19, 20, 21}


def when(moment: float) -> str:
    """A certificate's date as openssl prints it for people: UTC, to the minute."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "beyond the calendar"


@check(
    "tls.dates",
    "TLS001",
    "TLS002",
    "TLS003",
    en="the served certificate is within its dates",
    zh="所提供的证书在有效期内",
)
def dates(served: Served, taken_at: float) -> Iterator[Finding]:
    """TLS001 expired, TLS002 expires soon (share of its lifetime), TLS003 not valid yet."""
    leaf = served.chain[0]
    source = f"tls {served.address}"
    if taken_at > leaf.not_after:
        evidence = quote(source, f"notAfter {when(leaf.not_after)}, serial {leaf.serial}")
        yield Finding(
            "TLS001", (evidence,), {"expired_at": when(leaf.not_after), "ago": age(taken_at - leaf.not_after)}
        )
    elif taken_at < leaf.not_before:
        yield Finding(
            "TLS003",
            (quote(source, f"notBefore {when(leaf.not_before)}"), quote("date", when(taken_at))),
            {"valid_from": when(leaf.not_before)},
        )
    elif (severity := expiry_severity(leaf, taken_at)) is not None:
        left = leaf.not_after - taken_at
        share = left / max(1.0, leaf.not_after - leaf.not_before)
        yield Finding(
            "TLS002",
            (quote(source, f"notAfter {when(leaf.not_after)}: {age(left)}, {share:.0%}"),),
            {"expires_at": when(leaf.not_after), "left": age(left)},
            severity="fail" if severity == "fail" else "warn",
        )


def expiry_severity(leaf: Certificate, now: float) -> str | None:
    """``warn`` or ``fail`` where a valid certificate ends soon, by its own lifetime; None while there is time."""
    lifetime, left = leaf.not_after - leaf.not_before, leaf.not_after - now
    short = lifetime < SHORT_LIFETIME
    if left < lifetime * (0.15 if short else 0.10) or (left < DAY and lifetime > 4 * DAY):
        return "fail"
    if left < (lifetime * 0.35 if short else min(lifetime * 0.25, 30 * DAY)):
        return "warn"
    return None


@check("tls.name", "TLS004", en="the served certificate covers the name", zh="所提供的证书包含该域名")
def name(served: Served, target: Target) -> Iterator[Finding]:
    """TLS004: no SAN matches the target host."""
    leaf = served.chain[0]
    if target.origin.get("domain") == "default" or covers(leaf, target.domain):
        return
    names = ", ".join(leaf.names) or "-"
    yield Finding(
        "TLS004",
        (quote(f"tls {served.address} SNI {served.server_name or '-'}", f"subjectAltName: {names}"),),
        {"names": names},
    )


@check(
    "tls.chain",
    "TLS005",
    "TLS006",
    en="the served chain leads to a trusted root",
    zh="所提供的证书链可追溯到受信任的根",
)
def chain(served: Served, certificates: Certificates | NotSeen) -> Iterator[Finding]:
    """TLS006 where the leaf comes without the intermediate that exists, TLS005 otherwise."""
    if served.trust_code not in _NO_PATH:
        return
    leaf = served.chain[0]
    reason = served.trust_error or f"verify code {served.trust_code}"
    evidence = quote(f"tls {served.address}", f"verify code {served.trust_code}: {reason}")
    if not leaf.self_signed and not any(c.subject == leaf.issuer for c in served.chain[1:]):
        found = _issuer_on_disk(leaf, certificates)
        if found is not None:
            path, issuer = found
            if not issuer.self_signed:
                yield Finding(
                    "TLS006",
                    (
                        evidence,
                        Evidence(
                            f"tls {served.address}",
                            Text(
                                en=f"{len(served.chain)} certificate sent, issued by {leaf.issuer}",
                                zh=f"只发送了 {len(served.chain)} 张证书，签发者为 {leaf.issuer}",
                            ),
                        ),
                        Evidence(path, Text(en="holds the intermediate", zh="此文件含有中间证书")),
                    ),
                    {"issuer": leaf.issuer, "intermediate": path},
                )
                return
        elif leaf.issuer_url:
            # A public authority names where its own certificate is fetched (RFC 5280, 4.2.2.1): an intermediate.
            yield Finding(
                "TLS006",
                (
                    evidence,
                    quote(f"tls {served.address}", f"issuer {leaf.issuer}, caIssuers {leaf.issuer_url}"),
                ),
                {"issuer": leaf.issuer, "intermediate": "-"},
            )
            return
    last = served.chain[-1]
    yield Finding(
        "TLS005",
        (evidence, quote(f"tls {served.address}", f"subject {leaf.subject}, issuer {last.issuer}")),
        {"issuer": last.issuer, "reason": reason},
    )


def _issuer_on_disk(
    leaf: Certificate, certificates: Certificates | NotSeen
) -> tuple[str, Certificate] | None:
    if isinstance(certificates, NotSeen):
        return None
    files = (*((certificates.leaf,) if isinstance(certificates.leaf, PemFile) else ()), *certificates.nearby)
    found = [
        (file.path, item)
        for file in files
        for item in file.certificates
        if item.subject == leaf.issuer and item.is_authority
    ]
    # An intermediate and a root of one name: the intermediate is what the server could send.
    return min(found, key=lambda pair: pair[1].self_signed, default=None)


@check(
    "tls.files",
    "TLS007",
    "TLS012",
    en="certificate and key files are there and belong together",
    zh="证书与私钥文件存在且匹配",
)
def files(
    target: Target,
    certificates: Certificates,
    host: Host,
    front: Front | NotSeen,
    nginx_test: NginxTest | NotSeen,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
) -> Iterator[Finding]:
    """TLS012: a file nginx needs is missing or unreadable. TLS007: key and certificate differ."""
    # While an older nginx still serves, users are not hurt yet: the next reload or restart will fail.
    serving = (
        not isinstance(processes, NotSeen)
        and any(nginx_topology.serving_masters(target, processes, nginx_pidfile))
        and not isinstance(front, NotSeen)
        and front.connection.failure is None
    )
    severity: Severity | None = "warn" if serving else None
    broken = False
    hidden: NotSeen | None = None
    for file, origin in ((certificates.leaf, "certificate"), (certificates.key, "private_key")):
        if isinstance(file, NotSeen) or file.problem is None or file.problem == "encrypted":
            continue
        if target.origin.get(origin) == "guide":
            continue
        if file.problem == "unreadable" and not host.is_root:
            hidden = hidden or NotSeen(reason=f"{file.path}: {file.detail}", needs_root=True)
            continue
        broken = True
        resolved = f" -> {file.resolved}" if file.resolved != file.path else ""
        yield Finding(
            "TLS012",
            (quote(f"{file.path}{resolved}", f"{file.problem}: {file.detail}".rstrip(": ")),),
            {"path": file.path, "problem": file.problem},
            severity=severity,
        )
    leaf, key = certificates.leaf, certificates.key
    if hidden is not None:
        raise NotJudgedError(hidden)
    if broken:
        return
    if (
        isinstance(leaf, PemFile)
        and leaf.certificates
        and isinstance(key, KeyFile)
        and key.public_key is not None
        and key.public_key != leaf.certificates[0].public_key
    ):
        yield Finding(
            "TLS007",
            (
                quote(leaf.path, f"public key sha256 {leaf.certificates[0].public_key[:16]}…"),
                quote(key.path, f"public key sha256 {key.public_key[:16]}…"),
            ),
            severity=severity,
        )
        return
    if isinstance(nginx_test, NotSeen):
        return
    # Another server block's files break the whole configuration just the same.
    for line in nginx_test.lines:
        if "key values mismatch" in line:
            yield Finding("TLS007", (quote("nginx -t", line),), severity=severity)
            return
        if "cannot load certificate" in line and ("Permission denied" not in line or host.is_root):
            path = line.partition('"')[2].partition('"')[0]
            yield Finding(
                "TLS012",
                (quote("nginx -t", line),),
                {"path": path or "?", "problem": "missing" if "No such file" in line else "not_pem"},
                severity=severity,
            )
            return


@check(
    "tls.renewed",
    "TLS008",
    en="nginx serves the certificate that lies on disk",
    zh="nginx 提供的证书与磁盘上的一致",
)
def renewed(
    target: Target,
    served: Served,
    certificates: Certificates,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """TLS008: the file is newer than what is served. Warn while the served one is still valid."""
    file, leaf = seen(certificates.leaf), served.chain[0]
    if file.problem == "unreadable":
        raise NotJudgedError(NotSeen(reason=f"{file.path}: {file.detail}", needs_root=True))
    if not file.certificates or target.origin.get("certificate") == "guide":
        return
    on_disk = file.certificates[0]
    if on_disk.fingerprint == leaf.fingerprint:
        return
    started = [
        worker.started
        for master in nginx_topology.serving_masters(target, processes, nginx_pidfile)
        for worker in nginx_topology.nginx_workers(processes.processes, master.pid)
    ]
    changed_since = bool(started) and file.modified is not None and file.modified > min(started)
    if not (on_disk.not_before > leaf.not_before or changed_since):
        return
    yield Finding(
        "TLS008",
        (
            quote(f"tls {served.address}", f"serial {leaf.serial}, notAfter {when(leaf.not_after)}"),
            quote(file.path, f"serial {on_disk.serial}, notAfter {when(on_disk.not_after)}"),
        ),
        {"served_until": when(leaf.not_after), "file_until": when(on_disk.not_after)},
        severity="fail" if taken_at > leaf.not_after else "warn",
    )


CHECKS = (dates, name, chain, files, renewed)
