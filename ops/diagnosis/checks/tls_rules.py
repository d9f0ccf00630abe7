"""Certificates that clients refuse although their chain, their name and their dates are right.

Sources: RFC 5280 (4.2.1.12 extended key usage, 4.2.1.10 name constraints, 5.1.2.5 nextUpdate), RFC 7633 (TLS feature);
openssl-verification-options(1), x509_vfy.h; nginx documentation, ngx_http_ssl_module (ssl_crl, ssl_stapling)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.tls import NO_PATH, when
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import replaced_statement
from ops.facts.certificates import Certificates, Served
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.target import Target
from ops.interpret.nginx import Scope, servers
from ops.interpret.site import find_site
from ops.text.language import Text

# OpenSSL's codes that other checks judge: dates, the name.
_JUDGED_ELSEWHERE = {9, 10, 13, 14, 62}
# What to have issued in its place, by OpenSSL's code (x509_vfy.h).
_INSTEAD = {
    26: Text(
        en="one for servers (extended key usage serverAuth; with openssl: extendedKeyUsage = serverAuth)",
        zh="服务器用途的证书（extended key usage 含 serverAuth；openssl 写 extendedKeyUsage = serverAuth）",
    ),
    24: Text(
        en="one signed by a real authority: the certificate above it is none (basicConstraints CA:TRUE is missing)",
        zh="由真正的 CA 签发的证书：它上面那张不是 CA（缺 basicConstraints CA:TRUE）",
    ),
    25: Text(
        en="one signed by an authority that may have authorities below it (pathlen in basicConstraints is too small)",
        zh="由允许再设下级 CA 的 CA 签发的证书（basicConstraints 的 pathlen 太小）",
    ),
    47: Text(
        en="one by an authority that may sign for this name: the name constraints of one above it do not permit it",
        zh="由有权为该域名签发的 CA 签发的证书：上级证书的 name constraints 不允许这个域名",
    ),
    48: Text(
        en="one by an authority that may sign for this name: the name constraints of one above it exclude it",
        zh="由有权为该域名签发的 CA 签发的证书：上级证书的 name constraints 排除了这个域名",
    ),
    66: Text(
        en="one with a larger key (RSA 2048, ECDSA P-256)", zh="密钥更长的证书（RSA 2048、ECDSA P-256）"
    ),
    67: Text(en="one by an authority with a larger key", zh="由密钥更长的 CA 签发的证书"),
    68: Text(
        en="one signed with SHA-256 (it has MD5 or SHA-1)", zh="用 SHA-256 签名的证书（现在是 MD5 或 SHA-1）"
    ),
}
_ANOTHER = Text(en="one that keeps that rule", zh="符合该规则的证书")


@check(
    "tls.rules",
    "TLS028",
    en="clients accept the certificate for a server",
    zh="客户端接受这张证书用于服务器",
)
def rules(served: Served, target: Target) -> Iterator[Finding]:
    """TLS028: OpenSSL verifies the chain as a client does and refuses it for another reason than a missing path, the
    dates or the name."""
    code = served.trust_code
    if code <= 0 or code in NO_PATH or code in _JUDGED_ELSEWHERE:
        return
    leaf = served.chain[0]
    reason = served.trust_error or f"verify code {code}"
    purposes = ", ".join(leaf.purposes) or "-"
    file = target.certificate or target.site_file or target.nginx_config_file
    instead = _INSTEAD.get(code, _ANOTHER)
    yield Finding(
        "TLS028",
        (
            quote(f"tls {served.address}", f"verify code {code}: {reason}"),
            quote(
                file,
                f"subject {leaf.subject}, issuer {leaf.issuer}, key {leaf.key_type}, purposes {purposes}",
            ),
        ),
        {"reason": reason, "file": file, "instead": instead},
    )


@check(
    "tls.staple",
    "TLS029",
    en="nginx staples what the certificate demands",
    zh="证书要求的 OCSP stapling 已由 nginx 提供",
)
def staple(served: Served, target: Target, nginx_config: NginxConfig) -> Iterator[Finding]:
    """TLS029: the certificate demands a stapled answer (TLS feature status_request), and ssl_stapling is off."""
    leaf = served.chain[0]
    site = find_site(nginx_config, target.domain, target.backend)
    if not leaf.must_staple or site is None or site.server.value("ssl_stapling") == "on":
        return
    switch = site.server.effective("ssl_stapling")[-1:] or site.server.effective("ssl_certificate")[-1:]
    where = switch[0].where if switch else site.server.blocks[0].where
    yield Finding(
        "TLS029",
        (
            quote(f"tls {served.address}", f"serial {leaf.serial}: TLS feature status_request (must-staple)"),
            Evidence(
                where,
                Text(
                    en="ssl_stapling is not on in this server block", zh="这个 server 块没有开启 ssl_stapling"
                ),
            ),
        ),
        {"file": target.certificate or "?", "where": where},
    )


@check(
    "tls.revocations",
    "TLS030",
    en="the lists of revoked certificates are current",
    zh="吊销列表没有过期",
)
def revocations(
    certificates: Certificates, target: Target, nginx_config: NginxConfig, taken_at: float
) -> Iterator[Finding]:
    """TLS030: nginx verifies clients' certificates, and a list of ssl_crl has expired: OpenSSL then refuses every
    certificate of that authority, unless a current list of its is beside it (x509_vfy.c prefers that one)."""
    site = find_site(nginx_config, target.domain, target.backend)
    wanted = site.server.value("ssl_verify_client") if site else None
    lines = site.server.effective("ssl_crl") if site else ()
    if wanted in (None, "off") or not lines:
        return
    current = {
        item.issuer
        for item in certificates.revocations
        if item.next_update is None or item.next_update > taken_at
    }
    for item in certificates.revocations:
        if item.next_update is None or item.issuer in current:
            continue
        line = _line_of(item.path, lines)
        yield Finding(
            "TLS030",
            (
                quote(item.path, f"issuer {item.issuer}, nextUpdate {when(item.next_update)}: expired"),
                quote(line.where, f"ssl_crl {' '.join(line.args)}"),
            ),
            {
                "file": item.path,
                "issuer": item.issuer,
                "since": when(item.next_update),
                "where": line.where,
                "read": f"openssl crl -noout -issuer -nextupdate -in {shlex.quote(item.path)}",
            },
        )
        return


def _line_of(path: str, lines: tuple[Directive, ...]) -> Directive:
    return next((line for line in lines if line.args and path.endswith(line.args[0])), lines[-1])


# What every browser offers for the key exchange (OpenSSL's, NIST's and SECG's names), and words for OpenSSL's choice.
_CURVES = frozenset(
    {
        *("auto", "default", "x25519", "x25519mlkem768"),
        *("prime256v1", "p-256", "secp256r1", "secp384r1", "p-384"),
    }
)
_BETWEEN_CURVES = re.compile(r"[:/]")


@check(
    "tls.browsers",
    "TLS031",
    en="browsers know a curve of the site",
    zh="浏览器支持站点的某条曲线",
)
def browsers(served: Served, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """TLS031: the handshake with OpenSSL succeeds by a curve that Chrome does not offer: every one of ssl_ecdh_curve is
    a rare one. Rare keys are not judged: only private authorities sign them, for clients that know them."""
    line = _rare_curves(nginx_config, target)
    if line is not None:
        yield Finding(
            "TLS031",
            (quote(line.where, line.written), quote(f"tls {served.address}", served.protocol)),
            {"what": line.written, "where": line.where},
            fix=(
                Text(
                    en=f"Let OpenSSL choose: delete the line at {line.where}, or write ssl_ecdh_curve auto;",
                    zh=f"让 OpenSSL 自己选：删除 {line.where} 那一行，或写 ssl_ecdh_curve auto;",
                ),
                replaced_statement(line.where, line.name, f"{line.name} auto;"),
                target.test_nginx,
                target.reload_nginx,
            ),
        )


def _rare_curves(config: NginxConfig, target: Target) -> Directive | None:
    """The ssl_ecdh_curve of the site, if no curve of any server block at its addresses is one of browsers: the block
    that a connection arrives at decides about the curves, before the name is known."""
    site = find_site(config, target.domain, target.backend)
    if site is None:
        return None
    places = _listens(site.server)
    lines = [
        _only_rare(server) for server in servers(config) if server is site.server or places & _listens(server)
    ]
    return _only_rare(site.server) if all(lines) else None


def _listens(server: Scope) -> set[str]:
    return {line.args[0] for line in server.own("listen") if line.args}


def _only_rare(server: Scope) -> Directive | None:
    lines = server.effective("ssl_ecdh_curve")
    words = (word for line in lines[-1:] for word in line.args)
    names = {name.lstrip("?*-").lower() for word in words for name in _BETWEEN_CURVES.split(word)}
    return lines[-1] if names and not names & _CURVES else None


CHECKS = (rules, staple, revocations, browsers)
