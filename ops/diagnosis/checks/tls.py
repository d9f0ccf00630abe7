"""Certificates: the one served, and the files on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.certificates import (
    Certificate,
    Certificates,
    KeyFile,
    Lineage,
    Lineages,
    OldTls,
    PemFile,
    Served,
)
from ops.facts.host import Host, Processes
from ops.facts.nginx import NginxConfig, NginxTest, Pidfile
from ops.facts.probes import Front
from ops.facts.safeguards import Schedule
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.expiry import expiry, limits_for
from ops.interpret.renewal import lineage_of, renewers
from ops.interpret.site import find_site
from ops.interpret.trust import covers
from ops.text.duration import age
from ops.text.language import Text

# After a renewal certbot runs its hooks; certificates are looked at in the middle of that, too. Seconds.
RELOAD_GRACE = 600.0
# Withdrawn by RFC 8996; as nginx and OpenSSL write them, and as people do.
OUTDATED = {"TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1"}
READABLE_BY_OTHERS = 0o044
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
def dates(served: Served, taken_at: float, target: Target | NotSeen) -> Iterator[Finding]:
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
    else:
        rules = () if isinstance(target, NotSeen) else target.expiry_rules
        stand = expiry(leaf.not_before, leaf.not_after, taken_at, limits=limits_for(leaf.names, rules))
        if stand.severity is None:
            return
        yield Finding(
            "TLS002",
            (quote(source, f"notAfter {when(leaf.not_after)}: {age(stand.left)}, {stand.share:.0%}"),),
            {"expires_at": when(leaf.not_after), "left": age(stand.left)},
            severity=stand.severity,
        )


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
    started = [
        worker.started
        for master in nginx_topology.serving_masters(target, processes, nginx_pidfile)
        for worker in nginx_topology.nginx_workers(processes.processes, master.pid)
    ]
    if not is_stale(leaf, file, started, taken_at):
        return
    on_disk = file.certificates[0]
    yield Finding(
        "TLS008",
        (
            quote(f"tls {served.address}", f"serial {leaf.serial}, notAfter {when(leaf.not_after)}"),
            quote(file.path, f"serial {on_disk.serial}, notAfter {when(on_disk.not_after)}"),
        ),
        {"served_until": when(leaf.not_after), "file_until": when(on_disk.not_after)},
        severity="fail" if taken_at > leaf.not_after else "warn",
    )


def is_stale(leaf: Certificate, file: PemFile, workers_started: Sequence[float], now: float) -> bool:
    """Whether ``leaf`` is served although ``file`` holds what was put in its place.

    A hook needs its time: for ten minutes after the file changed nothing is said, unless what is served has expired."""
    on_disk = file.certificates[0]
    if on_disk.fingerprint == leaf.fingerprint:
        return False
    changed_since = bool(workers_started) and (file.modified or 0.0) > min(workers_started)
    if not (on_disk.not_before > leaf.not_before or changed_since):
        return False
    return now > leaf.not_after or file.modified is None or now - file.modified >= RELOAD_GRACE


@check("tls.versions", "TLS009", en="no withdrawn TLS version is accepted", zh="不接受已废弃的 TLS 版本")
def versions(
    target: Target, old_tls: OldTls | NotSeen, nginx_config: NginxConfig | NotSeen
) -> Iterator[Finding]:
    """TLS009: a handshake of TLS 1.0 or 1.1 succeeds, or ssl_protocols of the site allows one (RFC 8996)."""
    accepted = old_tls.accepted if isinstance(old_tls, OldTls) else ()
    evidence = [
        Evidence(
            f"tls {target.connect_to}", Text(en=f"{version}: handshake succeeds", zh=f"{version}：握手成功")
        )
        for version in accepted
    ]
    allowed: tuple[str, ...] = ()
    if isinstance(nginx_config, NginxConfig):
        site = find_site(nginx_config, target.domain, target.backend)
        for directive in site.server.effective("ssl_protocols") if site else ():
            allowed = tuple(version for version in directive.args if version in OUTDATED)
            if allowed:
                evidence.append(
                    quote(f"{directive.file}:{directive.line}", f"ssl_protocols {' '.join(directive.args)};")
                )
    if evidence:
        found = [version for version in OUTDATED if version in (*accepted, *allowed)]
        yield Finding("TLS009", tuple(evidence), {"version": ", ".join(OUTDATED[v] for v in found)})
    elif isinstance(old_tls, NotSeen):
        raise NotJudgedError(old_tls)


@check("tls.key", "TLS010", en="nobody else can read the private key", zh="其他用户无法读取私钥")
def key_mode(certificates: Certificates) -> Iterator[Finding]:
    """TLS010: the file the key's path leads to is readable by its group or by everybody."""
    key = seen(certificates.key)
    if key.problem in ("missing", "dangling"):
        return
    if key.mode is None:
        raise NotJudgedError(NotSeen(reason=f"{key.path}: {key.detail}", needs_root=True))
    if key.mode & READABLE_BY_OTHERS:
        mode = f"{key.mode:04o}"
        yield Finding("TLS010", (quote(key.resolved, f"mode {mode}"),), {"path": key.resolved, "mode": mode})


@check("tls.renewal", "TLS011", en="something renews the certificate", zh="有任务负责续期证书")
def renewal(
    target: Target,
    host: Host,
    certificates: Certificates,
    lineages: Lineages | NotSeen,
    schedule: Schedule | NotSeen,
) -> Iterator[Finding]:
    """TLS011: the certificate is a lineage of certbot's, and has no renewal configuration, or no schedule runs renewal.

    A certificate from elsewhere is renewed by whoever made it: nothing is proven about it."""
    if not target.certificate or target.origin.get("certificate") == "guide":
        return
    resolved = certificates.leaf.resolved if isinstance(certificates.leaf, PemFile) else target.certificate
    if isinstance(lineages, NotSeen):
        if lineages.needs_root and target.certificate.startswith(target.letsencrypt_dir):
            raise NotJudgedError(lineages)
        return
    lineage = lineage_of(target.certificate, resolved, lineages)
    if lineage is None or not lineage.linked:
        return
    proof = nothing_renews(lineage, schedule, has_systemd=host.has_systemd)
    if proof:
        yield Finding("TLS011", proof, {"lineage": lineage.name})


def nothing_renews(
    lineage: Lineage, schedule: Schedule | NotSeen, *, has_systemd: bool
) -> tuple[Evidence, ...]:
    """The proof that nothing renews ``lineage``; empty where something does.

    Raises NotJudgedError where nothing was found, but a place in which it may stand could not be read."""
    conf = lineage.renewal
    if conf.problem == "missing":
        words = Text(
            en="no renewal configuration: certbot does not know it", zh="没有续期配置，certbot 不会续期它"
        )
        return (Evidence(conf.path, words),)
    if not conf.autorenew:
        return (quote(conf.path, "autorenew = False"),)
    found = renewers(seen(schedule), has_systemd=has_systemd)
    if any(job.idle is None for job in found):
        return ()
    hidden = next(iter(seen(schedule).unseen), None)
    if hidden is not None:
        raise NotJudgedError(hidden)
    none = Text(
        en="no cron entry and no timer runs certbot renew", zh="没有任何 cron 任务或 timer 运行 certbot renew"
    )
    return tuple(quote(job.where, f"{job.command}: {job.idle}") for job in found) or (
        Evidence("schedule", none),
    )


CHECKS = (dates, name, chain, files, renewed, versions, key_mode, renewal)
