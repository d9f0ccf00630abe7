"""Judges of the domain name that users enter."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Sequence

from ops.diagnosis.finding import Evidence, Finding, check, quote, seen
from ops.diagnosis.resolver_failure import resolver_failure
from ops.facts.base import NotSeen
from ops.facts.certificates import Served
from ops.facts.host import Host
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Resolution
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.interpret.address import is_loopback, split_address
from ops.interpret.trust import covers
from ops.text.language import Text
from ops.text.reasons import reason

# The protocol's own terms, used in Chinese sentences too.
_TERMS = {
    ProbeFailure.NXDOMAIN: "NXDOMAIN",
    ProbeFailure.NO_ADDRESS: "no A/AAAA",
    ProbeFailure.TIMEOUT: "timeout",
    ProbeFailure.REFUSED: "REFUSED",
    ProbeFailure.SERVFAIL: "SERVFAIL",
    ProbeFailure.UNREACHABLE: "unreachable",
}
# Failures of the resolver rather than of the name: the detail has the resolver queried and the time waited for it.
_WHO_AND_HOW_LONG = (
    ProbeFailure.TIMEOUT,
    ProbeFailure.SERVFAIL,
    ProbeFailure.REFUSED,
    ProbeFailure.UNREACHABLE,
)
# Of these the name may be in order. SERVFAIL may also be the name's own: its servers or its signatures.
_RESOLVER_FAILURES = (ProbeFailure.TIMEOUT, ProbeFailure.REFUSED, ProbeFailure.UNREACHABLE)


@check("dns.resolution", "DNS001", en="the name resolves", zh="域名可以解析")
def resolution(resolution: Resolution) -> Iterator[Finding]:
    """DNS001: the resolver returned no address."""
    if resolution.is_literal or resolution.failure is None:
        return
    how = resolver_failure(resolution.failure)
    has_detail = resolution.failure in _WHO_AND_HOW_LONG and resolution.detail
    waited = (Evidence("resolver", reason(resolution.detail)),) if has_detail else ()
    yield Finding(
        "DNS001",
        (Evidence(f"dns {resolution.name} @{resolution.resolver}", how), *waited, *_led_to(resolution)),
        {"resolver": resolution.resolver, "failure": _TERMS.get(resolution.failure, resolution.failure)},
        fix=_steps(resolution),
    )


def _led_to(resolution: Resolution) -> tuple[Evidence, ...]:
    """The end of the alias chain, if the name has one."""
    if not resolution.alias:
        return ()
    words = Text(en=f"leads to {resolution.alias}", zh=f"指向 {resolution.alias}")
    return (Evidence(f"CNAME {resolution.name}", words),)


def _steps(resolution: Resolution) -> tuple[str | Text, ...] | None:
    """What is to be mended: the resolver, if it said nothing of the name; None for the record."""
    if resolution.alias:
        return (
            Text(
                en=f"{resolution.name} is an alias (CNAME) of {resolution.alias}, which has no address: bring that name"
                f" back at its provider, or lead {resolution.name} to the host that serves it now",
                zh=f"{resolution.name} 是 {resolution.alias} 的别名（CNAME），而后者没有地址：在其服务商处恢复它，"
                f"或把 {resolution.name} 指向现在提供服务的主机",
            ),
            f"dig +noall +answer {shlex.quote(resolution.name)} CNAME",
        )
    if resolution.failure not in _RESOLVER_FAILURES:
        return None
    return (
        Text(
            en=f"The name server {resolution.resolver} says nothing of the name. Bring it up, or name another one in"
            " /etc/resolv.conf; it names now:",
            zh=f"DNS 服务器 {resolution.resolver} 没有给出这个域名的任何信息。"
            "恢复它，或在 /etc/resolv.conf 里换一个；现在的内容：",
        ),
        "cat /etc/resolv.conf",
    )


@check("dns.address", "DNS002", en="the name leads to this host", zh="域名指向本机")
def address(
    resolution: Resolution, host: Host, target: Target, elsewhere: Served | NotSeen, served: Served | NotSeen
) -> Iterator[Finding]:
    """DNS002: no resolved address is expected or this host's own, and none leads here by address translation. A warning
    if some are expected (``target.expected_addresses``) and others are not: a part of the users goes there."""
    if resolution.is_literal or not resolution.addresses:
        return
    expected = target.expected_addresses or host.addresses
    ours = [
        item
        for item in resolution.addresses
        if item in expected or (not target.expected_addresses and is_loopback(item))
    ]
    same = _same_certificate(elsewhere, served)
    # Beside one that is expected, this host's own serves too, listed or not, and so does one with its certificate.
    proven = (*host.addresses, *same) if ours else ()
    others = [item for item in resolution.addresses if item not in (*ours, *proven)]
    if ours and not (others and target.expected_addresses):
        return
    if same and not ours:
        return  # the address is translated to this host
    reachable = expected if target.expected_addresses else tuple(filter(_can_be_published, expected))
    addresses, expected_text = ", ".join(others), ", ".join(reachable or expected)
    yield Finding(
        "DNS002",
        (
            quote(f"dns {resolution.name} @{resolution.resolver}", ", ".join(resolution.addresses)),
            Evidence(
                "gte-ops.toml target.expected_addresses" if target.expected_addresses else "ip address",
                Text(en=f"expected one of {expected_text}", zh=f"应为其中之一：{expected_text}"),
            ),
        ),
        {"addresses": addresses, "expected": expected_text},
        severity=Severity.WARN if ours else None,
        summary=_some_elsewhere(resolution, others, expected_text) if ours else None,
        fix=(_deleted_record(resolution.name, others),) if ours else None,
        explains=() if ours else None,
    )


def _same_certificate(elsewhere: Served | NotSeen, served: Served | NotSeen) -> tuple[str, ...]:
    """The address elsewhere that presents the certificate of this host's front door; none if that was not seen."""
    if not isinstance(elsewhere, Served) or not isinstance(served, Served):
        return ()
    is_same = elsewhere.chain[0].fingerprint == served.chain[0].fingerprint
    return (split_address(elsewhere.address)[0],) if is_same else ()


def _some_elsewhere(resolution: Resolution, others: Sequence[str], expected: str) -> Text:
    addresses = ", ".join(others)
    return Text(
        en=f"{resolution.name} resolves to {addresses} too, which is none of {expected}: a part of the users is sent"
        " there.",
        zh=f"{resolution.name} 还解析到 {addresses}，它不在 {expected} 之中：有一部分用户会被带到那里。",
    )


def _deleted_record(name: str, others: Sequence[str]) -> Text:
    kinds = "/".join(sorted({"AAAA" if ":" in item else "A" for item in others}))
    addresses = ", ".join(others)
    return Text(
        en=f"Delete the {kinds} record of {addresses} at the DNS provider, if that host does not serve {name} any more;"
        " else list it in target.expected_addresses",
        zh=f"如果那台主机不再提供 {name}，就在 DNS 服务商处删除 {addresses} 的 {kinds} 记录；"
        "否则把它写进 target.expected_addresses",
    )


def _can_be_published(address: str) -> bool:
    """Whether other hosts can reach this host at ``address``: neither loopback nor link-local."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return True
    return not (parsed.is_loopback or parsed.is_link_local)


@check("dns.literal", "DNS003", en="users are sent to a name", zh="对外公布的是域名")
def literal(resolution: Resolution, target: Target, served: Served | NotSeen) -> Iterator[Finding]:
    """DNS003: the URL's host is an IP address, and the certificate does not cover it or is not trusted."""
    if not resolution.is_literal or not target.url.startswith("https:"):
        return
    served = seen(served)
    leaf = served.chain[0]
    if covers(leaf, target.domain) and served.trust_code == 0:
        return
    yield Finding(
        "DNS003",
        (
            quote("target.url", target.url),
            quote(
                f"tls {served.address}",
                f"subjectAltName: {', '.join(leaf.names) or '-'}"
                + (f"; {served.trust_error}" if served.trust_error else ""),
            ),
        ),
    )


CHECKS = (resolution, address, literal)
