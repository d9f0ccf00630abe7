"""Checks of the served certificate, its renewal, and the TLS versions."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote, seen
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.certificates import (
    Certificate,
    Certificates,
    FileProblem,
    Lineage,
    Lineages,
    OldTls,
    PemFile,
    Served,
)
from ops.facts.host import Host, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.safeguards import Schedule
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.expiry import expiry, limits_for
from ops.interpret.renewal import lineage_of, renewers
from ops.interpret.schedule import Job
from ops.interpret.site import find_site
from ops.interpret.trust import covers, may_have_issued, may_take_over, place_in, signed_path
from ops.settings import is_host
from ops.text.duration import age, in_chinese_units
from ops.text.language import Text
from ops.text.reasons import reason

# Seconds. After a renewal certbot runs its hooks; a run may see the certificates before the hooks end.
RELOAD_GRACE = 600.0
# Seconds. The file is read after the snapshot's time, so one that changed in between seems to be of the future.
_READ_LATER = 60.0
# Versions that RFC 8996 withdrew: the spelling of nginx and OpenSSL, and the usual one.
OUTDATED = {"TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1"}
# OpenSSL's verify codes (x509_vfy.h) that mean: no path to a trusted root.
NO_PATH = {2, 18, 19, 20, 21}


def when(moment: float) -> str:
    """A certificate's date for people: UTC, to the minute."""
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
def dates(
    served: Served, taken_at: float, target: Target | NotSeen, lineages: Lineages | NotSeen
) -> Iterator[Finding]:
    """TLS001 expired, TLS002 expires soon (share of its lifetime), TLS003 not valid yet.

    An expired intermediate counts like the certificate if it signed the certificate itself; one above it may be a
    cross-certificate that newer clients do not need: a warning."""
    leaf = served.chain[0]
    source = f"tls {served.address}"
    path = signed_path(served.chain)
    old = next((c for c in path if taken_at > c.not_after and not c.self_signed), None)
    if old is not None:
        evidence = quote(source, f"{old.subject}: notAfter {when(old.not_after)}, serial {old.serial}")
        passed = None
        if old is leaf and isinstance(target, Target):
            from ops.diagnosis.checks.tls_lineages import passed_over

            passed = passed_over(lineages, target)
        yield Finding(
            "TLS001",
            (evidence, passed[0]) if passed else (evidence,),
            {"expired_at": when(old.not_after), "ago": age(taken_at - old.not_after)},
            severity=None if old in path[:2] else Severity.WARN,
            summary=None if old is leaf else _old_intermediate(old, taken_at),
            verify=None if old is leaf or isinstance(target, NotSeen) else _dates_of_all(target),
            fix=(passed[1] if passed else None)
            if old is leaf or isinstance(target, NotSeen)
            else _newer_intermediate(path, old, target),
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


def _old_intermediate(old: Certificate, now: float) -> Text:
    at, ago = when(old.not_after), age(now - old.not_after)
    return Text(
        en=f"The intermediate certificate {old.subject} that is sent expired at {at}, {ago} ago; the site's own is"
        " within its dates.",
        zh=f"所发送的中间证书 {old.subject} 已于 {at} 过期，距今 {in_chinese_units(ago)}；站点自己的证书仍在有效期内。",
    )


def _dates_of_all(target: Target) -> str:
    return (
        f"openssl s_client -connect {target.connect_to} -servername {target.domain} -showcerts </dev/null 2>/dev/null"
        " | openssl storeutl -noout -text -certs /dev/stdin | grep -E 'Subject:|Not After'"
    )


def _newer_intermediate(
    path: Sequence[Certificate], old: Certificate, target: Target
) -> tuple[str | Text, ...]:
    """The steps that replace the old intermediate with the present one: its authority serves it at the URL in the
    certificate below (RFC 5280, 4.2.2.1), or sends it with a newly issued certificate."""
    file = Text(
        en=target.certificate or "the file of ssl_certificate",
        zh=target.certificate or " ssl_certificate 所指的文件",
    )
    url = path[path.index(old) - 1].issuer_url
    source = Text(
        en=f"In {file.en} replace the block of {old.subject} by the one that its authority issues now"
        + (f": {url}" if url else ""),
        zh=f"把 {file.zh} 里 {old.subject} 的那一段换成其 CA 现行的证书" + (f"：{url}" if url else ""),
    )
    managed = target.certificate is not None and target.certificate.startswith(target.letsencrypt_dir)
    name = posixpath.basename(posixpath.dirname(file.en))
    renew = (f"certbot renew --force-renewal --cert-name {shlex.quote(name)}",) if managed else ()
    return (*renew, source, target.test_nginx, target.reload_nginx)


@check("tls.name", "TLS004", en="the served certificate covers the name", zh="所提供的证书包含该域名")
def name(served: Served, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """TLS004: no SAN matches the target host; a warning if none matches another likely name of the site."""
    leaf = served.chain[0]
    if target.origin.get("domain") == "default":
        return
    names = ", ".join(leaf.names) or "-"
    evidence = quote(f"tls {served.address} SNI {served.server_name or '-'}", f"subjectAltName: {names}")
    if not covers(leaf, target.domain):
        nameless = None if leaf.names else _without_names(leaf)
        proof = (evidence,) if nameless is None else (evidence, quote(evidence.source, leaf.subject))
        yield Finding("TLS004", proof, {"names": names}, summary=nameless)
        return
    other = next(_uncovered(leaf, target, nginx_config), None)
    if other is not None:
        options = " ".join(f"-d {shlex.quote(each)}" for each in dict.fromkeys((*leaf.names, other.name)))
        yield Finding(
            "TLS004",
            (quote(other.where, f"server_name ... {other.name}"), evidence),
            {"names": names},
            severity=Severity.WARN,
            summary=Text(
                en=f"The site answers to {other.name} too, and its certificate is for {names} alone.",
                zh=f"站点也以 {other.name} 对外服务，但证书只签给 {names}。",
            ),
            verify=f"openssl s_client -connect {target.connect_to} -servername {other.name} </dev/null 2>/dev/null"
            " | openssl x509 -noout -ext subjectAltName",
            fix=(
                Text(
                    en=f"Where nobody is to use {other.name}, take it out of server_name at {other.where}; else have"
                    " the certificate issued for both:",
                    zh=f"如果没人使用 {other.name}，就从 {other.where} 的 server_name 里去掉；"
                    "否则重新申请包含两者的证书：",
                ),
                f"certbot --nginx --expand {options}",
                target.reload_nginx,
            ),
            explains=(),
        )


def _without_names(leaf: Certificate) -> Text:
    """The summary for a certificate of the old kind: clients no longer read the subject (RFC 9525, 2)."""
    return Text(
        en=f"The certificate has no subjectAltName: clients do not read the name in its subject ({leaf.subject}).",
        zh=f"证书没有 subjectAltName：客户端不看主题里的名字（{leaf.subject}）。",
    )


class _OtherName(NamedTuple):
    """A name of the site other than the target's, and its place."""

    name: str
    where: str


def _uncovered(
    leaf: Certificate, target: Target, nginx_config: NginxConfig | NotSeen
) -> Iterator[_OtherName]:
    """Names of the site's block that its certificate does not cover: the target's with ``www.`` added or removed.
    Nothing shows that anybody uses other names here."""
    site = (
        find_site(nginx_config, target.domain, target.backend)
        if isinstance(nginx_config, NginxConfig)
        else None
    )
    if site is None or not any(listen.ssl for listen in site.server.listens):
        return
    host, port = split_address(target.connect_to) if target.connect_to else ("", 0)
    everyone = nginx_topology.servers(nginx_config) if isinstance(nginx_config, NginxConfig) else ()
    domain = target.domain.lower()
    for directive in site.server.own("server_name"):
        for word in directive.args:
            name = word.lower()
            if (
                not is_host(name)
                or not (name == f"www.{domain}" or domain == f"www.{name}")
                or covers(leaf, name)
            ):
                continue
            if nginx_topology.chosen_server(everyone, host, port, name) in (None, site.server):
                yield _OtherName(name, directive.where)


@check(
    "tls.chain",
    "TLS005",
    "TLS006",
    "TLS020",
    en="the served chain leads to a trusted root",
    zh="所提供的证书链可追溯到受信任的根",
)
def chain(
    served: Served, certificates: Certificates | NotSeen, target: Target | NotSeen
) -> Iterator[Finding]:
    """TLS020 if an intermediate is sent that did not sign the certificate, TLS006 if the one that did exists but is not
    sent, TLS005 otherwise."""
    if served.trust_code not in NO_PATH:
        return
    leaf = served.chain[0]
    reason = served.trust_error or f"verify code {served.trust_code}"
    source = f"tls {served.address}"
    evidence = quote(source, f"verify code {served.trust_code}: {reason}")
    path = signed_path(served.chain)
    last = path[-1]
    if not last.self_signed:
        on_disk = _issuer_on_disk(last, certificates)
        # An intermediate is known to be foreign only if signatures were checked.
        foreign = [
            c
            for c in served.chain
            if last.signed_by is not None and c.is_authority and not c.self_signed and c not in path
        ]
        if foreign:
            misplaced = _misplaced(last, foreign[0], on_disk, certificates, target)
            words = Text(
                en=f"sends {_described(foreign[0])}, which did not sign {last.subject}, issued by {last.issuer}",
                zh=f"发送的 {_described(foreign[0])} 没有签发 {last.subject}，后者的签发者是 {last.issuer}",
            )
            yield Finding(
                "TLS020",
                (evidence, Evidence(source, words), *misplaced.proof),
                {"issuer": last.issuer, "sent": foreign[0].subject, "where": misplaced.where},
                summary=_of_one_name(last, foreign[0]) if foreign[0].subject == last.issuer else None,
                fix=misplaced.fix,
            )
            return
        # A public authority gives the URL of its own certificate (RFC 5280, 4.2.2.1): an intermediate.
        is_intermediate = not on_disk.authority.self_signed if on_disk else last is leaf and last.issuer_url
        if is_intermediate:
            yield Finding(
                "TLS006",
                (evidence, *_missing(source, served, last, on_disk)),
                {"issuer": last.issuer, "intermediate": on_disk.path if on_disk else last.issuer_url or "-"},
                summary=_of_several(served, last),
            )
            return
    yield Finding(
        "TLS005",
        (evidence, quote(source, f"subject {leaf.subject}, issuer {last.issuer}")),
        {"issuer": last.issuer, "reason": reason},
    )


class _OnDisk(NamedTuple):
    """The place of an issuer: its file, and its first and last line there (0: not known)."""

    path: str
    authority: Certificate
    place: tuple[int, int]


def _issuer_on_disk(certificate: Certificate, certificates: Certificates | NotSeen) -> _OnDisk | None:
    """The place of ``certificate``'s issuer; an intermediate rather than a root of the same name."""
    if isinstance(certificates, NotSeen):
        return None
    files = (*((certificates.leaf,) if isinstance(certificates.leaf, PemFile) else ()), *certificates.nearby)
    candidates = [
        _OnDisk(file.path, item, place)
        for file in files
        for item, place in (
            *zip(file.certificates, (*file.places, *((0, 0),) * len(file.certificates)), strict=False),
            *((hidden, (0, 0)) for hidden in file.hidden),
        )
        if item.is_authority and may_have_issued(item, certificate)
    ]
    return min(candidates, key=lambda place: place.authority.self_signed, default=None)


def _of_one_name(signed: Certificate, foreign: Certificate) -> Text:
    return Text(
        en=f"The intermediate that is sent is called {foreign.subject}, as the issuer is, but has another key: it did"
        f" not sign {signed.subject}.",
        zh=f"所发送的中间证书与签发者同名（{foreign.subject}），密钥却不同：它没有签发 {signed.subject}。",
    )


def _described(certificate: Certificate) -> str:
    return f"{certificate.subject} (serial {certificate.serial}, notAfter {when(certificate.not_after)})"


def _missing(
    source: str, served: Served, last: Certificate, on_disk: _OnDisk | None
) -> tuple[Evidence, Evidence]:
    """The number of certificates sent, and the place of the missing intermediate."""
    count = len(served.chain)
    words = Text(
        en=f"{count} certificate{'s' if count > 1 else ''} sent, issued by {last.issuer}",
        zh=f"只发送了 {count} 张证书，签发者为 {last.issuer}",
    )
    place = (
        Evidence(on_disk.path, Text(en="holds the intermediate", zh="此文件含有中间证书"))
        if on_disk
        else quote(source, f"issuer {last.issuer}, caIssuers {last.issuer_url}")
    )
    return Evidence(source, words), place


def _of_several(served: Served, last: Certificate) -> Text | None:
    """The summary if more than the leaf is sent; None for the catalogue's."""
    count = len(served.chain)
    if count == 1:
        return None
    return Text(
        en=f"{count} certificates are sent, and none of them is the intermediate {last.issuer} that signed"
        f" {last.subject}.",
        zh=f"发送了 {count} 张证书，但其中没有签发 {last.subject} 的中间证书 {last.issuer}。",
    )


class _Misplaced(NamedTuple):
    """A wrong intermediate in the site's file: its place, evidence of it and of the right one, and the fix (None: not
    known)."""

    where: str
    proof: tuple[Evidence, ...]
    fix: tuple[str | Text, ...] | None


def _misplaced(
    signed: Certificate,
    foreign: Certificate,
    on_disk: _OnDisk | None,
    certificates: Certificates | NotSeen,
    target: Target | NotSeen,
) -> _Misplaced:
    file = certificates.leaf if isinstance(certificates, Certificates) else None
    if not isinstance(file, PemFile) or (block := place_in(file, foreign.fingerprint)) is None:
        return _Misplaced("?", (), None)
    where = f"{file.path}:{block[0]}"
    proof = [Evidence(where, Text(en="the intermediate that does not belong", zh="不配套的中间证书在此处"))]
    right = None
    if on_disk and not on_disk.authority.self_signed and on_disk.place[0]:
        first, last = on_disk.place
        right = f"sed -n '{first},{last}p' {shlex.quote(on_disk.path)}"
        proof.append(
            Evidence(
                f"{on_disk.path}:{first}", Text(en="the intermediate that does", zh="正确的中间证书在此处")
            )
        )
    elif signed.issuer_url:
        right = f"curl -fsS {shlex.quote(signed.issuer_url)} | openssl x509"
    own = place_in(file, signed.fingerprint)
    if own is None or right is None or not isinstance(target, Target):
        return _Misplaced(where, tuple(proof), None)
    path = shlex.quote(file.path)
    replaced = (
        f"{{ sed -n '{own[0]},{own[1]}p' {path}; {right}; }} > {path}.new"
        f" && cat {path}.new > {path} && rm {path}.new"
    )
    return _Misplaced(where, tuple(proof), (replaced, target.test_nginx, target.reload_nginx))


@check(
    "tls.renewed",
    "TLS008",
    en="nginx serves the certificate that is on disk",
    zh="nginx 提供的证书与磁盘上的一致",
)
def renewed(
    target: Target,
    served: Served,
    certificates: Certificates,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    taken_at: float,
    lineages: Lineages | NotSeen,
    nginx_config: NginxConfig | NotSeen,
) -> Iterator[Finding]:
    """TLS008: the file is newer than the served certificate, or an ACME client has renewed the pair in its own
    directory and nginx reads a copy, or certbot has in another lineage. A warning while the served one is valid."""
    leaf = served.chain[0]
    if certificates.elsewhere:
        from ops.diagnosis.checks.tls_copied_pair import not_copied

        if (copied := not_copied(certificates, served, target, taken_at)) is not None:
            yield copied
            return
    if isinstance(lineages, Lineages) and lineages.others:
        from ops.diagnosis.checks.tls_lineages import renewed_beside

        if (beside := renewed_beside(lineages, served, target, nginx_config, taken_at)) is not None:
            yield beside
            return
    file = seen(certificates.leaf)
    if file.problem is FileProblem.UNREADABLE:
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
        severity=Severity.FAIL if taken_at > leaf.not_after else Severity.WARN,
    )


@check(
    "tls.archive",
    "TLS023",
    en="certbot's links lead to its newest certificate",
    zh="certbot 的链接指向最新的证书",
)
def archive(target: Target, served: Served, lineages: Lineages, taken_at: float) -> Iterator[Finding]:
    """TLS023: the archive has a complete, valid and newer version, and the older one that is served expires soon.

    While the older one is valid for long, somebody may have gone back to it on purpose."""
    leaf = served.chain[0]
    lineage = lineage_of(target.certificate or "", target.certificate or "", lineages)
    stand = expiry(
        leaf.not_before, leaf.not_after, taken_at, limits=limits_for(leaf.names, target.expiry_rules)
    )
    if lineage is None or stand.severity is None or not isinstance(lineage.certificate, PemFile):
        return
    for pair in lineage.newer:
        new = pair.certificate
        if pair.matches and may_take_over(new, leaf, target.domain, taken_at):
            live = PurePosixPath(lineage.live)
            beside = posixpath.relpath(PurePosixPath(pair.chain_path).parent, live)
            links = f"{shlex.quote(beside)}/${{f}}{pair.version}.pem {shlex.quote(str(live))}/$f.pem"
            yield Finding(
                "TLS023",
                (
                    quote(
                        f"{lineage.certificate.path} -> {lineage.certificate.resolved}",
                        f"serial {leaf.serial}, notAfter {when(leaf.not_after)}",
                    ),
                    quote(pair.chain_path, f"serial {new.serial}, notAfter {when(new.not_after)}"),
                ),
                {"newer": pair.chain_path, "until": when(new.not_after)},
                severity=stand.severity,
                fix=(
                    f"for f in cert chain fullchain privkey; do ln -sfn {links}; done",
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


def is_stale(leaf: Certificate, file: PemFile, workers_started: Sequence[float], now: float) -> bool:
    """Whether ``leaf`` is served although ``file`` holds its replacement.

    A hook needs time: for ten minutes after the file changed, the answer is no unless ``leaf`` has expired. A time
    of the file up to a minute after ``now`` is just now; a later one tells nothing: the clock was set back since."""
    on_disk = file.certificates[0]
    if on_disk.fingerprint == leaf.fingerprint:
        return False
    modified = file.modified if file.modified is not None and file.modified <= now + _READ_LATER else None
    changed_since = bool(workers_started) and (modified or 0.0) > min(workers_started)
    if not (on_disk.not_before > leaf.not_before or changed_since):
        return False
    return now > leaf.not_after or modified is None or now - modified >= RELOAD_GRACE


@check("tls.versions", "TLS009", en="no withdrawn TLS version is accepted", zh="不接受已废弃的 TLS 版本")
def versions(
    target: Target, old_tls: OldTls | NotSeen, nginx_config: NginxConfig | NotSeen
) -> Iterator[Finding]:
    """TLS009: a handshake of TLS 1.0 or 1.1 succeeds, or the site's ssl_protocols allows one (RFC 8996)."""
    accepted = old_tls.accepted if isinstance(old_tls, OldTls) else ()
    evidence = [
        Evidence(
            f"tls {target.connect_to}", Text(en=f"{version}: handshake succeeds", zh=f"{version}：握手成功")
        )
        for version in accepted
    ]
    in_config: tuple[str, ...] = ()
    lines: list[str] = []
    if isinstance(nginx_config, NginxConfig):
        site = find_site(nginx_config, target.domain, target.backend)
        for directive in site.server.effective("ssl_protocols") if site else ():
            in_config = tuple(version for version in directive.args if version in OUTDATED)
            if in_config:
                place, statement = (
                    directive.where,
                    f"ssl_protocols {' '.join(directive.args)};",
                )
                evidence.append(quote(place, statement))
                lines.append(replaced_in_line(place, statement, "ssl_protocols TLSv1.2 TLSv1.3;"))
    if evidence:
        outdated = [version for version in OUTDATED if version in (*accepted, *in_config)]
        yield Finding(
            "TLS009",
            tuple(evidence),
            {"version": ", ".join(OUTDATED[v] for v in outdated)},
            fix=(*lines, target.test_nginx, target.reload_nginx) if lines else None,
        )
    elif isinstance(old_tls, NotSeen):
        raise NotJudgedError(old_tls)


@check("tls.renewal", "TLS011", en="something renews the certificate", zh="有任务负责续期证书")
def renewal(
    target: Target,
    host: Host,
    certificates: Certificates,
    lineages: Lineages | NotSeen,
    schedule: Schedule | NotSeen,
) -> Iterator[Finding]:
    """TLS011: the certificate is a lineage of certbot's, but certbot does not renew it, or no schedule runs renewal.

    Certificates from elsewhere are renewed by other means: nothing is proven about them."""
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
        fix = _renewing(target, lineage, schedule, has_systemd=host.has_systemd)
        yield Finding("TLS011", proof, {"lineage": lineage.name}, fix=tuple(fix))


def _renewing(
    target: Target, lineage: Lineage, schedule: Schedule | NotSeen, *, has_systemd: bool
) -> Iterator[str | Text]:
    """The steps after which something renews ``lineage``, as far as this host lacks them."""
    conf, name = lineage.renewal, shlex.quote(lineage.name)
    if conf.problem is FileProblem.MISSING:
        yield Text(
            en=f"Restore {conf.path} from a backup (gte-ops backup list); or have certbot issue the certificate again,"
            " which writes it:",
            zh=f"从备份恢复 {conf.path}（gte-ops backup list）；或让 certbot 重新签发，会重新写入该文件：",
        )
        yield f"certbot certonly --cert-name {name} -d {shlex.quote(target.domain)} --force-renewal"
    elif not conf.autorenew:
        yield (
            "sed -i --follow-symlinks 's/^autorenew[[:space:]]*=.*/autorenew = True/'"
            f" {shlex.quote(conf.path)}"
        )
    else:
        yield _renewer(schedule, has_systemd=has_systemd)
    yield f"certbot renew --cert-name {name} --dry-run"


def _renewer(schedule: Schedule | NotSeen, *, has_systemd: bool) -> str:
    """The command that makes certbot run twice a day: by its own timer, else by cron."""
    jobs = [] if isinstance(schedule, NotSeen) else renewers(schedule, has_systemd=has_systemd)
    timer = next((job.where for job in jobs if job.where.endswith(".timer")), None)
    if has_systemd and timer:
        return f"systemctl enable --now {shlex.quote(timer)}"
    return "echo '41 4,16 * * * root certbot -q renew' > /etc/cron.d/certbot-renew"


def nothing_renews(
    lineage: Lineage, schedule: Schedule | NotSeen, *, has_systemd: bool
) -> tuple[Evidence, ...]:
    """The evidence that nothing renews ``lineage``; empty if something does.

    Raises NotJudgedError if nothing was found, but one of the places could not be read."""
    conf = lineage.renewal
    if conf.problem is FileProblem.MISSING:
        words = Text(
            en="no renewal configuration: certbot does not know it", zh="没有续期配置，certbot 不会续期它"
        )
        return (Evidence(conf.path, words),)
    if not conf.autorenew:
        return (quote(conf.path, "autorenew = False"),)
    jobs = renewers(seen(schedule), has_systemd=has_systemd)
    if any(job.idle is None for job in jobs):
        return ()
    hidden = next(iter(seen(schedule).unseen), None)
    if hidden is not None:
        raise NotJudgedError(hidden)
    none = Text(
        en="no cron entry and no timer runs certbot renew", zh="没有任何 cron 任务或 timer 运行 certbot renew"
    )
    return tuple(_idle(job) for job in jobs) or (Evidence("schedule", none),)


def _idle(job: Job) -> Evidence:
    why = reason(job.idle or "")
    return Evidence(job.where, Text(en=f"{job.command}: {why.en}", zh=f"{job.command}：{why.to('zh')}"))


CHECKS = (dates, name, chain, renewed, archive, versions, renewal)
