"""Judges of the front door at each address of the name and with each key type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.tls import NO_PATH, when
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import put_after_line
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, Lineages, OtherDoor, PemFile, Served
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_rules
from ops.interpret.address import split_address
from ops.interpret.renewal import lineage_of
from ops.interpret.site import find_site
from ops.interpret.trust import covers
from ops.text.language import Text


@check(
    "net.addresses",
    "NET011",
    en="the front door is open at every address of the name",
    zh="域名解析到的每个地址都能连到入口",
)
def addresses(front: Front, other_doors: tuple[OtherDoor, ...]) -> Iterator[Finding]:
    """NET011: the name also resolves to another address of this host, which accepts no connections."""
    if front.connection.failure is not None:
        return
    for door in other_doors:
        if door.failure is not None and not door.key:
            family = "IPv6" if ":" in split_address(door.address)[0] else "IPv4"
            yield Finding(
                "NET011",
                (
                    quote(f"tcp {door.address}", door.failure),
                    Evidence(f"tcp {front.connection.address}", Text(en="takes connections", zh="可以连接")),
                ),
                {"address": door.address, "family": family, "working": front.connection.address},
            )
            return


@check(
    "net.certificates",
    "TLS025",
    en="every address and every kind of key presents a good certificate",
    zh="每个地址、每种密钥提供的证书都正常",
)
def other_certificates(
    target: Target,
    served: Served,
    other_doors: tuple[OtherDoor, ...],
    taken_at: float,
    nginx_config: NginxConfig | NotSeen,
    lineages: Lineages | NotSeen,
) -> Iterator[Finding]:
    """TLS025: clients would reject the certificate at another address, or with another key type, but accept the one
    that the doctor received first; or another name of this nginx has a certificate of its own that has expired. The
    fix names its file and how to renew it."""
    if _objections(served, target, taken_at):
        return
    for door in other_doors:
        there = door.served
        if not isinstance(there, Served) or there.chain[0].fingerprint == served.chain[0].fingerprint:
            continue
        objections = _objections(there, target, taken_at)
        if objections:
            place = _CertificateSource.of(door, there, nginx_config, target, taken_at)
            yield Finding(
                "TLS025",
                (
                    quote(
                        f"tls {door.address} {door.key}".strip(),
                        f"{_described(there.chain[0])}: {objections}",
                    ),
                    quote(f"tls {served.address}", _described(served.chain[0])),
                    *place.evidence,
                ),
                {
                    "door": f"{door.address} ({door.key})" if door.key else door.address,
                    "objections": objections,
                },
                severity=Severity.FAIL,
                verify=None
                if door.key
                else f"openssl s_client -connect {door.address} -servername {shlex.quote(target.domain)} </dev/null"
                " 2>/dev/null | openssl x509 -noout -subject -dates",
                fix=_listening_too(door, nginx_config, target) or place.fix(target, lineages),
            )
            return
    from ops.diagnosis.checks.tls_lineages import expired_names

    yield from expired_names(lineages, nginx_config, target, taken_at)


def _listening_too(
    door: OtherDoor, config: NginxConfig | NotSeen, target: Target
) -> tuple[str | Text, ...] | None:
    """The steps where other sites alone listen at the door's address, each with its own certificate; else None."""
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    if site is None or isinstance(config, NotSeen) or door.key:
        return None
    listening = [
        (server, directive)
        for server in nginx_rules.servers(config)
        for directive in server.own("listen")
        if _takes(directive, door.address)
    ]
    own = next(site.server.own("listen"), None)
    if own is None or not listening:
        return None
    if any(s == site.server or nginx_rules.names_match(s, target.domain) for s, _ in listening):
        return None
    other, directive = listening[0]
    return (
        Text(
            en=f"The service's server block ({site.server.where}) does not listen at {door.address}; {other.where}"
            " does, and presents its own certificate. Let the service's listen there too:",
            zh=f"服务的 server 块（{site.server.where}）没有监听 {door.address}，监听的是 {other.where}，"
            "提供的是它自己的证书。让服务的 server 块也监听该地址：",
        ),
        put_after_line(own.where, f"listen {directive.args[0]}{' ssl' if 'ssl' in directive.args else ''};"),
        target.test_nginx,
        target.reload_nginx,
    )


def _takes(listen: Directive, address: str) -> bool:
    """Whether a listen directive takes connections to ``address``. Without ipv6only=off, [::] is IPv6's alone."""
    parsed = nginx_rules.parse_listen(listen.args) if listen.args else None
    host, port = split_address(address)
    if parsed is None or parsed.port != port:
        return False
    is_for_ipv6 = listen.args[0].startswith("[")
    both = "ipv6only=off" in listen.args
    return parsed.host == host or (parsed.host == "*" and (both or is_for_ipv6 == (":" in host)))


class _CertificateSource(NamedTuple):
    """The source of a bad certificate: the file that holds it, or (``is_renewed``) one that now holds a good one of the
    same key type; None if neither was found. ``where``: FILE:LINE of its ssl_certificate."""

    file: PemFile | None = None
    where: str = "?"
    is_renewed: bool = False

    @classmethod
    def of(
        cls, door: OtherDoor, there: Served, config: NginxConfig | NotSeen, target: Target, now: float
    ) -> _CertificateSource:
        """Find the source by the certificates in the files."""
        directives = {} if isinstance(config, NotSeen) else nginx_rules.certificates_at(config, door.address)
        leaf = there.chain[0]

        def source(file: PemFile, *, is_renewed: bool) -> _CertificateSource:
            directive = directives.get(file.path)
            return cls(file, directive.where if directive else file.path, is_renewed)

        holding = [file for file in door.files if file.certificates]
        for file in holding:
            if file.certificates[0].fingerprint == leaf.fingerprint:
                return source(file, is_renewed=False)
        kind = leaf.key_type.split()[:1]
        for file in holding:
            own = file.certificates[0]
            is_good = own.not_before <= now < own.not_after and covers(own, target.domain)
            if is_good and own.key_type.split()[:1] == kind and own.not_before > leaf.not_before:
                return source(file, is_renewed=True)
        return cls()

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Quote the directive and the file's certificate."""
        if self.file is None:
            return ()
        return (
            quote(self.where, f"ssl_certificate {self.file.path}"),
            quote(self.file.path, _described(self.file.certificates[0])),
        )

    def fix(self, target: Target, lineages: Lineages | NotSeen) -> tuple[str | Text, ...] | None:
        """Steps to renew the file, by its lineage if certbot manages it; a renewed file needs only the reload."""
        if self.file is None:
            return None
        reload = (target.test_nginx, target.reload_nginx)
        if self.is_renewed:
            return reload
        path = self.file.path
        lineage = None if isinstance(lineages, NotSeen) else lineage_of(path, self.file.resolved, lineages)
        if lineage is not None:
            return (f"certbot renew --cert-name {shlex.quote(lineage.name)}", *reload)
        return (
            Text(
                en=f"Renew {path} (ssl_certificate at {self.where}) the way it was issued; it is none of certbot's."
                " If nobody needs it any more, delete that line and its ssl_certificate_key",
                zh=f"按当初签发的方式续期 {path}（{self.where} 的 ssl_certificate）；它不归 certbot 管。"
                "如果已无人需要，删掉这一行和对应的 ssl_certificate_key",
            ),
            *reload,
        )


def _described(leaf: Certificate) -> str:
    names = ", ".join(leaf.names) or "-"
    return f"{leaf.key_type}, serial {leaf.serial}, notAfter {when(leaf.not_after)}, for {names}"


def _objections(there: Served, target: Target, now: float) -> str:
    """A client's objections to the certificate, in OpenSSL's words; empty if it would accept it."""
    leaf = there.chain[0]
    objections = []
    if now > leaf.not_after:
        objections.append("certificate has expired")
    if now < leaf.not_before:
        objections.append("certificate is not yet valid")
    if target.origin.get("domain") != "default" and not covers(leaf, target.domain):
        objections.append("hostname mismatch")
    if there.trust_code in NO_PATH:
        objections.append(there.trust_error or f"verify code {there.trust_code}")
    return "; ".join(objections)


CHECKS = (addresses, other_certificates)
