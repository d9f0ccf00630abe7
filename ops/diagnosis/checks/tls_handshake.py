"""Configurations that make nginx end the handshake before there is a certificate to judge.

Sources: nginx documentation, ngx_http_ssl_module (ssl_ciphers, ssl_protocols, ssl_reject_handshake); ciphers(1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from ops.diagnosis.checks.tls import OUTDATED
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import put_after_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificates, PemFile
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.nginx import Server
from ops.interpret.site import find_site
from ops.text.language import Text

# nginx's own default.
_DEFAULT_CIPHERS = "HIGH:!aNULL:!MD5"
# The signature of a cipher, as `ssl` names it, by the kind of key.
_SIGNED_WITH = {"RSA": "auth-rsa", "EC": "auth-ecdsa"}
_KEY_NAMES = {"RSA": "RSA", "EC": "ECDSA"}
_OLD_VERSIONS = frozenset({"SSLv2", "SSLv3", *OUTDATED, "TLSv1.2"})


def _refused(front: Front) -> Exchange | None:
    """The first probe, if nginx ended the handshake of every probe; None otherwise."""
    answers = [answer for answer in (front.predict, front.health) if isinstance(answer, Exchange)]
    ended = [answer for answer in answers if answer.failure is ProbeFailure.TLS]
    return ended[0] if ended and len(ended) == len(answers) else None


def _chosen(config: NginxConfig, target: Target, test: NginxTest | NotSeen) -> Server | None:
    """The server block for the handshake; None if the address is unknown or the files on disk do not load."""
    if target.connect_to is None or (isinstance(test, NginxTest) and test.exit_code != 0):
        return None
    host, port = split_address(target.connect_to)
    return nginx_topology.chosen_server(nginx_topology.servers(config), host, port, target.domain)


@check(
    "tls_handshake.rejected",
    "TLS027",
    en="nginx takes handshakes for the name",
    zh="nginx 接受针对该域名的 TLS 握手",
)
def rejected(
    front: Front, nginx_config: NginxConfig, target: Target, nginx_test: NginxTest | NotSeen
) -> Iterator[Finding]:
    """TLS027: nginx ended the handshake, and the server block for the name has ssl_reject_handshake on."""
    answer, server = _refused(front), _chosen(nginx_config, target, nginx_test)
    if answer is None or server is None or server.value("ssl_reject_handshake") != "on":
        return
    switch = server.effective("ssl_reject_handshake")[-1]
    where = switch.where
    site = find_site(nginx_config, target.domain, target.backend)
    server_name = site.server.first_own("server_name") if site is not None and site.server != server else None
    evidence = [
        quote(target.connect_to or "tls", answer.detail or "tls"),
        quote(where, "ssl_reject_handshake on;"),
    ]
    listens = list(site.server.own("listen")) if server_name is not None and site is not None else []
    wanted = next((d.args[0] for d in server.own("listen") if d.args), None)
    if server_name is not None and target.domain in server_name.args and listens and wanted is not None:
        at = listens[-1].where
        evidence.append(quote(at, f"listen {' '.join(listens[-1].args)};"))
        fix: tuple[str | Text, ...] = (
            Text(
                en=f"The site's server block listens elsewhere ({at}), so the block at {where} takes the handshake",
                zh=f"站点的 server 块监听别处（{at}），所以握手由 {where} 的块处理",
            ),
            put_after_line(at, f"listen {wanted} ssl;"),
        )
    elif server_name is not None:
        place, names = server_name.where, " ".join(server_name.args)
        evidence.append(quote(place, f"server_name {names};"))
        fix = (
            Text(
                en=f"The site's server block has server_name {names} ({place}): write the name that users type,"
                f" {target.domain}",
                zh=f"站点的 server 块写的是 server_name {names}（{place}）：改成用户访问的域名 {target.domain}",
            ),
            *((replaced_in_line(place, names, target.domain),) if len(server_name.args) == 1 else ()),
        )
    else:
        fix = (
            Text(
                en=f"Give the site a server block of its own with server_name {target.domain}, or delete"
                f" ssl_reject_handshake at {where}",
                zh=f"为站点单独写一个 server_name {target.domain} 的 server 块，或删除 {where} 的 ssl_reject_handshake",
            ),
        )
    yield Finding(
        "TLS027",
        tuple(evidence),
        {"where": where, "names": " ".join(server.names) or "-"},
        fix=(*fix, target.test_nginx, target.reload_nginx),
    )


@check(
    "tls_handshake.ciphers",
    "TLS026",
    en="the ciphers that nginx allows fit the certificate's key",
    zh="nginx 允许的加密套件与证书密钥类型相符",
)
def ciphers(
    front: Front,
    nginx_config: NginxConfig,
    target: Target,
    certificates: Certificates | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """TLS026: nginx ended the handshake, TLS 1.3 is not allowed, and no cipher of ssl_ciphers is signed with a key of
    the certificate's kind."""
    answer, server = _refused(front), _chosen(nginx_config, target, nginx_test)
    if answer is None or server is None or isinstance(certificates, NotSeen):
        return
    directives = server.effective("ssl_ciphers")
    versions = server.effective("ssl_protocols")
    if not directives or not directives[-1].args or not isinstance(certificates.leaf, PemFile):
        return
    if versions and not set(versions[-1].args) <= _OLD_VERSIONS:
        return  # the ciphers of TLS 1.3 work with every key
    if len(server.effective("ssl_certificate")) != 1 or not certificates.leaf.certificates:
        return
    kind = certificates.leaf.certificates[0].key_type.partition(" ")[0]
    signed_with = _signatures(directives[-1].args[0])
    if (
        kind not in _SIGNED_WITH
        or not signed_with
        or _SIGNED_WITH[kind] in signed_with
        or "auth-any" in signed_with
    ):
        return
    line = directives[-1]
    where, key = line.where, _KEY_NAMES[kind]
    yield Finding(
        "TLS026",
        (
            quote(target.connect_to or "tls", answer.detail or "tls"),
            quote(where, f"ssl_ciphers {line.args[0]};"),
            Evidence(
                certificates.leaf.path,
                Text(
                    en=f"the certificate's key: {key} ({certificates.leaf.certificates[0].key_type})",
                    zh=f"证书的密钥：{key}（{certificates.leaf.certificates[0].key_type}）",
                ),
            ),
        ),
        {"where": where, "key": key},
        fix=(
            Text(
                en=f"Take a list that has ciphers for {key} keys, as nginx's own default at {where}:",
                zh=f"把 {where} 换成含有 {key} 加密套件的列表，例如 nginx 的默认值：",
            ),
            replaced_in_line(where, line.args[0], _DEFAULT_CIPHERS),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


@lru_cache(maxsize=8)
def _signatures(cipher_list: str) -> frozenset[str]:
    """The signatures of a list's ciphers, without those of TLS 1.3; empty if OpenSSL accepts none of the list."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(cipher_list)
    except ssl.SSLError:
        return frozenset()
    return frozenset(
        str(cipher["auth"]) for cipher in context.get_ciphers() if cipher.get("protocol") != "TLSv1.3"
    )


CHECKS = (rejected, ciphers)
