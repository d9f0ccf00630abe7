"""Remedies of certificates that need no past: the pair in certbot's archive that fits, the intermediate. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from ops.facts.certificates import Certificates, Lineages, PemFile
from ops.facts.nginx import Directive, NginxConfig
from ops.interpret.site import find_site
from ops.repair.model import FileEdit, Remedy
from ops.repair.nginx_text import NotLocatedError, replace_argument
from ops.repair.plan.case import NO_PLAN, Case
from ops.repair.plan.edits import exchange, exchange_files
from ops.text.language import Text

_LINKS = Text(
    en="it changes certbot's links, which certbot changes by itself at a renewal",
    zh="会改动 certbot 的链接，续期时 certbot 也会自行改动",
)


def _pair_that_fits(case: Case) -> Iterator[Remedy]:
    """Let certbot's links lead to the newest version whose key belongs to its certificate."""
    files = case.context.pair
    if files:
        source = files[0].source
        yield exchange_files(
            case,
            files,
            Text(
                en=f"let the links of {posixpath.dirname(files[0].path)} lead to {source.en}: valid, and a pair",
                zh=f"让 {posixpath.dirname(files[0].path)} 中的链接指向 {source.zh}：有效且配对",
            ),
            _LINKS,
        )
        return
    yield from _key_beside(case)


def _key_beside(case: Case) -> Iterator[Remedy]:
    """TLS007: the key that belongs to the certificate lies beside it: nginx is to read that."""
    certificates = case.snapshot.certificates
    others = certificates.other_keys if isinstance(certificates, Certificates) else ()
    directive = _directive(case, "ssl_certificate_key")
    if case.cause.code != "TLS007" or not others or directive is None:
        yield case.by_hand(NO_PLAN)
        return
    yield _let_name(case, directive, others[0].path)


def _fullchain(case: Case) -> Iterator[Remedy]:
    """TLS006: fullchain.pem in place of cert.pem, or the certificate with the intermediate that lies beside it."""
    directive = _directive(case, "ssl_certificate")
    leaf = case.snapshot.certificates.leaf if isinstance(case.snapshot.certificates, Certificates) else None
    chain = _chain_beside(case, leaf) if isinstance(leaf, PemFile) else None
    if directive is not None and chain is not None and chain != directive.args[0]:
        yield _let_name(case, directive, chain)
        return
    yield from _with_intermediate(case)


def _with_intermediate(case: Case) -> Iterator[Remedy]:
    """TLS006, TLS020: the site's certificate, and the intermediate that signed it, which lies beside it."""
    file = case.context.with_intermediate
    if file is None:
        yield case.by_hand(NO_PLAN)
        return
    yield exchange_files(
        case,
        (file,),
        Text(
            en=f"send the intermediate that signed the certificate: {file.path} {file.source.en}",
            zh=f"发送签发该证书的中间证书：{file.path} {file.source.zh}",
        ),
        None,
    )


def _undamaged(case: Case) -> Iterator[Remedy]:
    """TLS021, TLS022: the blocks that lie beside the damaged file, else an earlier pair. A file whose lines alone are
    wrong is edited as the fix says."""
    if case.context.printed.get(case.cause.code):
        yield case.by_hand(NO_PLAN)
    elif case.cause.code == "TLS021" and case.context.with_intermediate is not None:
        yield from _with_intermediate(case)
    else:
        yield from _pair_that_fits(case)


def _chain_beside(case: Case, leaf: PemFile) -> str | None:
    """The path of certbot's fullchain.pem of this very certificate, if that has more than one."""
    lineages = case.snapshot.lineages
    fingerprint = leaf.certificates[0].fingerprint if leaf.certificates else None
    for lineage in lineages.lineages if isinstance(lineages, Lineages) else ():
        chain = lineage.certificate
        if (
            isinstance(chain, PemFile)
            and len(chain.certificates) > 1
            and chain.certificates[0].fingerprint == fingerprint
        ):
            return chain.path
    return None


def _directive(case: Case, name: str) -> Directive | None:
    """The one directive of this name that holds for the site."""
    config = case.snapshot.nginx_config
    site = (
        find_site(config, case.target.domain, case.target.backend)
        if isinstance(config, NginxConfig)
        else None
    )
    directives = site.server.effective(name) if site else ()
    return directives[0] if len(directives) == 1 and directives[0].args else None


def _let_name(case: Case, directive: Directive, path: str) -> Remedy:
    """Have ``directive`` name another file."""
    before = case.context.files.get(directive.file)
    real = case.context.real.get(directive.file)
    if before is None or real is None:
        return case.by_hand(NO_PLAN)
    text = before.decode("utf-8", "surrogateescape")
    try:
        after = replace_argument(text, directive.line, directive.name, directive.args[0], path)
    except NotLocatedError:
        return case.by_hand(NO_PLAN)
    return exchange(
        case,
        (FileEdit(real, before, after.encode("utf-8", "surrogateescape")),),
        Text(
            en=f"let {directive.name} name {path} in place of {directive.args[0]}",
            zh=f"让 {directive.name} 指向 {path}（原为 {directive.args[0]}）",
        ),
        None,
    )


PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    **dict.fromkeys(("TLS001", "TLS003", "TLS004", "TLS007", "TLS012", "TLS023"), _pair_that_fits),
    "TLS006": _fullchain,
    "TLS020": _with_intermediate,
    **dict.fromkeys(("TLS021", "TLS022"), _undamaged),
}
