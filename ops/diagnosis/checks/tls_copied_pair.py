"""A pair that an ACME client has renewed in its own directory, while nginx reads a copy that nobody renews.

Source: acme.sh's wiki (--install-cert copies the pair, at each renewal again)."""

from __future__ import annotations

import shlex

from ops.diagnosis.checks.tls import when
from ops.diagnosis.finding import Finding, Severity, quote
from ops.facts.certificates import AcmePair, Certificates, PemFile, Served
from ops.facts.target import Target
from ops.interpret.expiry import expiry, limits_for
from ops.interpret.trust import may_take_over
from ops.text.language import Text


def not_copied(certificates: Certificates, served: Served, target: Target, taken_at: float) -> Finding | None:
    """TLS008 for a copy: the served certificate has expired or soon will, and a client's own directory has a valid pair
    for the name that is good for longer. None if the copy is a newer one already: then a reload is missing."""
    leaf = served.chain[0]
    stand = expiry(
        leaf.not_before, leaf.not_after, taken_at, limits=limits_for(leaf.names, target.expiry_rules)
    )
    is_over = taken_at > leaf.not_after
    if not is_over and stand.severity is None:
        return None
    copy = certificates.leaf
    if isinstance(copy, PemFile) and any(
        may_take_over(new, leaf, target.domain, taken_at) for new in copy.certificates[:1]
    ):
        return None
    better = [
        pair
        for pair in certificates.elsewhere
        for new in pair.certificate.certificates[:1]
        if pair.key.public_key == new.public_key and may_take_over(new, leaf, target.domain, taken_at)
    ]
    if not better:
        return None
    best = max(better, key=lambda pair: pair.certificate.certificates[0].not_after)
    return _finding(best, served, target, Severity.FAIL if is_over else Severity.WARN)


def _finding(pair: AcmePair, served: Served, target: Target, severity: Severity) -> Finding:
    leaf, new = served.chain[0], pair.certificate.certificates[0]
    copy = target.certificate or "?"
    read = Text(
        en=target.certificate or "a file that was not seen", zh=target.certificate or "某个未看到的文件"
    )
    return Finding(
        "TLS008",
        (
            quote(f"tls {served.address}", f"serial {leaf.serial}, notAfter {when(leaf.not_after)}"),
            quote(pair.certificate.path, f"serial {new.serial}, notAfter {when(new.not_after)}"),
        ),
        {"served_until": when(leaf.not_after), "file_until": when(new.not_after)},
        severity=severity,
        summary=Text(
            en=f"{pair.client} has renewed the certificate in {pair.directory} (valid until {when(new.not_after)});"
            f" nginx reads {read.en}, a copy that was not renewed (valid until {when(leaf.not_after)}).",
            zh=f"{pair.client} 已在 {pair.directory} 里续期（有效期到 {when(new.not_after)}）；nginx 读取的 {read.zh} "
            f"是没有更新的副本（有效期到 {when(leaf.not_after)}）。",
        ),
        verify=f"openssl x509 -in {shlex.quote(pair.certificate.path)} -noout -enddate;"
        f" openssl x509 -in {shlex.quote(copy)} -noout -enddate",
        fix=_steps(pair, target, copy),
    )


def _steps(pair: AcmePair, target: Target, copy: str) -> tuple[str | Text, ...]:
    key = target.private_key
    if key is None:
        return (
            Text(
                en=f"Have {pair.client} copy the pair to the files of ssl_certificate and ssl_certificate_key, now and"
                " after each renewal",
                zh=f"让 {pair.client} 现在以及每次续期后把证书和私钥复制到 ssl_certificate 和 ssl_certificate_key"
                " 所指的文件",
            ),
        )
    if pair.client == "acme.sh":
        program = shlex.quote(f"{pair.directory}/acme.sh")
        ecc = " --ecc" if f"/{target.domain}_ecc/" in pair.certificate.path else ""
        return (
            Text(
                en="Have acme.sh copy the pair, now and after each renewal:",
                zh="让 acme.sh 现在就复制证书和私钥，并在每次续期后自动复制：",
            ),
            f"{program} --install-cert -d {shlex.quote(target.domain)}{ecc} --key-file {shlex.quote(key)}"
            f" --fullchain-file {shlex.quote(copy)} --reloadcmd {shlex.quote(target.reload_nginx)}",
        )
    return (
        f"install -m 600 {shlex.quote(pair.key.path)} {shlex.quote(key)}",
        f"install -m 644 {shlex.quote(pair.certificate.path)} {shlex.quote(copy)}",
        target.test_nginx,
        target.reload_nginx,
        Text(
            en=f"Have {pair.client} do the same after each renewal, by its hook; or lead ssl_certificate and"
            f" ssl_certificate_key to {pair.directory}",
            zh=f"在 {pair.client} 的 hook 里加上同样的步骤，使每次续期后自动复制；"
            f"或让 ssl_certificate 和 ssl_certificate_key 指向 {pair.directory}",
        ),
    )
