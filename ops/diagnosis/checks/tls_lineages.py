"""certbot's other lineages: one that holds the site's renewed certificate, and those of nginx's other names; and a
lineage whose links have become files.

Source: certbot's documentation (Where are my certificates; Changing a certificate's domains: NAME-0001)."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.tls import when
from ops.diagnosis.finding import Evidence, Finding, Severity, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, KeyFile, Lineage, Lineages, PemFile, Served
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.expiry import expiry, limits_for
from ops.interpret.renewal import lineage_of
from ops.interpret.site import find_site
from ops.interpret.trust import covers, may_take_over
from ops.settings import is_host
from ops.text.language import Text


def renewed_beside(
    lineages: Lineages, served: Served, target: Target, config: NginxConfig | NotSeen, taken_at: float
) -> Finding | None:
    """TLS008 for a lineage beside the site's: the served certificate has expired or soon will, and another lineage has
    a valid pair for the name that is good for longer."""
    leaf = served.chain[0]
    own = lineage_of(target.certificate or "", target.certificate or "", lineages)
    rules = target.expiry_rules
    stand = expiry(leaf.not_before, leaf.not_after, taken_at, limits=limits_for(leaf.names, rules))
    if own is None or (stand.severity is None and taken_at <= leaf.not_after):
        return None
    on_disk = _certificate_of(own)
    if on_disk is not None and may_take_over(on_disk, leaf, target.domain, taken_at):
        return None  # renewed where nginx reads it: a reload is missing
    pairs = [
        (new, other)
        for other in (*lineages.lineages, *lineages.others)
        if other.live != own.live
        and (new := _certificate_of(other)) is not None
        and isinstance(other.key, KeyFile)
        and other.key.public_key == new.public_key
        and may_take_over(new, leaf, target.domain, taken_at)
        and _is_of_same_authority(own, other)
    ]
    if not pairs:
        return None
    new, other = max(pairs, key=lambda pair: pair[0].not_after)
    return _beside(own, other, new, served, target, config, taken_at)


def _is_of_same_authority(own: Lineage, other: Lineage) -> bool:
    servers = {lineage.renewal.server for lineage in (own, other) if lineage.renewal.server}
    return len(servers) < 2


def _certificate_of(lineage: Lineage) -> Certificate | None:
    file = lineage.certificate
    return file.certificates[0] if isinstance(file, PemFile) and file.certificates else None


def _beside(
    own: Lineage,
    other: Lineage,
    new: Certificate,
    served: Served,
    target: Target,
    config: NginxConfig | NotSeen,
    taken_at: float,
) -> Finding:
    leaf = served.chain[0]
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    named = [
        directive
        for name in ("ssl_certificate", "ssl_certificate_key")
        for directive in (site.server.effective(name) if site else ())
        if directive.args and directive.args[0].startswith(f"{own.live}/")
    ]
    moved = tuple(
        replaced_in_line(d.where, d.args[0], d.args[0].replace(f"{own.live}/", f"{other.live}/", 1))
        for d in named
    )
    by_hand = Text(
        en=f"Let ssl_certificate and ssl_certificate_key name the files in {other.live}",
        zh=f"让 ssl_certificate 和 ssl_certificate_key 指向 {other.live} 里的文件",
    )
    return Finding(
        "TLS008",
        (
            quote(f"tls {served.address}", f"serial {leaf.serial}, notAfter {when(leaf.not_after)}"),
            quote(f"{other.live}/fullchain.pem", f"serial {new.serial}, notAfter {when(new.not_after)}"),
            *(quote(d.where, f"{d.name} {d.args[0]}") for d in named[:1]),
        ),
        {"served_until": when(leaf.not_after), "file_until": when(new.not_after)},
        severity=Severity.FAIL if taken_at > leaf.not_after else Severity.WARN,
        summary=Text(
            en=f"certbot keeps a valid certificate for {target.domain} under another name, {other.name} (until"
            f" {when(new.not_after)}); nginx reads the lineage {own.name}, whose certificate ends"
            f" {when(leaf.not_after)}.",
            zh=f"certbot 在另一个名称 {other.name} 下有 {target.domain} 的有效证书（到 {when(new.not_after)}）；"
            f"nginx 读取的 {own.name} 的证书有效期到 {when(leaf.not_after)}。",
        ),
        verify=f"openssl x509 -in {shlex.quote(f'{other.live}/fullchain.pem')} -noout -subject -enddate",
        fix=(*(moved or (by_hand,)), target.test_nginx, target.reload_nginx),
    )


def passed_over(
    lineages: Lineages | NotSeen, target: Target
) -> tuple[Evidence, tuple[str | Text, ...]] | None:
    """The proof that certbot passes the site's lineage over because its live files are no links, and the steps that
    make them links again; None if they are."""
    if isinstance(lineages, NotSeen) or not target.certificate:
        return None
    lineage = lineage_of(target.certificate, target.certificate, lineages)
    if lineage is None or lineage.linked or lineage.renewal.problem is not None:
        return None
    archive = posixpath.join(lineages.directory, "archive", lineage.name)
    live, kept = shlex.quote(lineage.live), shlex.quote(archive)
    beside = shlex.quote(posixpath.relpath(archive, lineage.live))
    newest = (
        rf"n=$(ls {kept} | sed -n 's/^cert\([0-9]*\)[.]pem$/\1/p' | sort -n | tail -n 1); n=$((${{n:-0}}+1))"
    )
    return (
        Evidence(
            f"{lineage.live}/cert.pem",
            Text(
                en=f"no symbolic link into {archive}: certbot passes this lineage over at every renewal",
                zh=f"不是指向 {archive} 的符号链接：certbot 每次续期都会跳过它",
            ),
        ),
        (
            f"mkdir -p {kept}; {newest}; for f in cert chain fullchain privkey; do mv {live}/$f.pem {kept}/$f$n.pem"
            f" && ln -s {beside}/$f$n.pem {live}/$f.pem; done",
            f"certbot renew --cert-name {shlex.quote(lineage.name)}",
            target.reload_nginx,
            Text(
                en="Copy certbot's directory with its links from now on (cp -a, rsync -a, tar)",
                zh="以后复制 certbot 的目录要保留链接（cp -a、rsync -a、tar）",
            ),
        ),
    )


def expired_names(
    lineages: Lineages | NotSeen, config: NginxConfig | NotSeen, target: Target, taken_at: float
) -> Iterator[Finding]:
    """TLS025 for another name of this nginx: its server block has a certificate of its own, made for it, that has
    expired."""
    if isinstance(lineages, NotSeen) or isinstance(config, NotSeen):
        return
    for server in nginx_topology.servers(config):
        names = [name for name in server.names if is_host(name) and name != target.domain]
        if not names or not any(listen.ssl for listen in server.listens):
            continue
        for directive in server.effective("ssl_certificate"):
            path = directive.args[0] if directive.args else ""
            lineage = next((each for each in lineages.others if path.startswith(f"{each.live}/")), None)
            leaf = _certificate_of(lineage) if lineage else None
            name = next((each for each in names if leaf and covers(leaf, each)), None)
            if lineage is None or leaf is None or name is None or leaf.not_after >= taken_at:
                continue
            yield Finding(
                "TLS025",
                (
                    quote(directive.where, f"ssl_certificate {path}"),
                    quote(path, f"{leaf.subject}: notAfter {when(leaf.not_after)}"),
                ),
                {"door": name, "objections": f"notAfter {when(leaf.not_after)}"},
                severity=Severity.WARN,
                summary=Text(
                    en=f"The certificate of {name}, another name that this nginx serves, expired at"
                    f" {when(leaf.not_after)}: browsers refuse it.",
                    zh=f"本机 nginx 的另一个域名 {name} 的证书已于 {when(leaf.not_after)} 过期，浏览器会拒绝访问。",
                ),
                verify=f"openssl x509 -in {shlex.quote(path)} -noout -subject -dates",
                fix=(
                    f"certbot renew --cert-name {shlex.quote(lineage.name)}",
                    target.reload_nginx,
                    Text(
                        en=f"Where nobody is to use {name} any more, take its server block out ({server.where})",
                        zh=f"如果不再使用 {name}，就去掉它的 server 块（{server.where}）",
                    ),
                ),
            )
            return
