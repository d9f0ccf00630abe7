"""Every way to the front door: each address of the name, and each kind of key."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.checks.tls import NO_PATH, when
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.facts.certificates import Certificate, OtherDoor, Served
from ops.facts.probes import Front
from ops.facts.target import Target
from ops.interpret.address import split_address
from ops.interpret.trust import covers
from ops.text.language import Text


@check(
    "net.addresses",
    "NET011",
    en="the front door is open at every address of the name",
    zh="域名解析到的每个地址都能连到入口",
)
def addresses(front: Front, other_doors: tuple[OtherDoor, ...]) -> Iterator[Finding]:
    """NET011: the name resolves to another address of this host's too, and nothing takes connections there."""
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
    target: Target, served: Served, other_doors: tuple[OtherDoor, ...], taken_at: float
) -> Iterator[Finding]:
    """TLS025: the certificate at another address, or of another kind of key, would not be accepted, while the one that
    is asked first would."""
    if _objections(served, target, taken_at):
        return
    for door in other_doors:
        there = door.served
        if not isinstance(there, Served) or there.chain[0].fingerprint == served.chain[0].fingerprint:
            continue
        objections = _objections(there, target, taken_at)
        if objections:
            yield Finding(
                "TLS025",
                (
                    quote(
                        f"tls {door.address} {door.key}".strip(),
                        f"{_described(there.chain[0])}: {objections}",
                    ),
                    quote(f"tls {served.address}", _described(served.chain[0])),
                ),
                {
                    "door": f"{door.address} ({door.key})" if door.key else door.address,
                    "objections": objections,
                },
                severity=Severity.FAIL,
            )
            return


def _described(leaf: Certificate) -> str:
    names = ", ".join(leaf.names) or "-"
    return f"{leaf.key_type}, serial {leaf.serial}, notAfter {when(leaf.not_after)}, for {names}"


def _objections(there: Served, target: Target, now: float) -> str:
    """What a client would object to, in OpenSSL's words; empty where it would not."""
    leaf = there.chain[0]
    found = []
    if now > leaf.not_after:
        found.append("certificate has expired")
    if now < leaf.not_before:
        found.append("certificate is not yet valid")
    if target.origin.get("domain") != "default" and not covers(leaf, target.domain):
        found.append("hostname mismatch")
    if there.trust_code in NO_PATH:
        found.append(there.trust_error or f"verify code {there.trust_code}")
    return "; ".join(found)


CHECKS = (addresses, other_certificates)
