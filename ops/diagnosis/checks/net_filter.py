"""Judges of the host's packet filter."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.packet_filter import PacketFilter
from ops.facts.probes import Resolution
from ops.facts.target import Target
from ops.interpret.address import split_address
from ops.interpret.packet_filter import Packet, PacketRefusal, refusal
from ops.text.language import Text

_USERS = Text(en="users", zh="用户")
_NGINX = Text(en="nginx", zh="nginx ")


@check(
    "net.packet_filter",
    "NET030",
    en="the host's packet filter lets users in (one in front of the host cannot be seen from here)",
    zh="本机的包过滤规则放行用户（主机前面的防火墙从这里看不到）",
)
def packet_filter(
    packet_filter: PacketFilter, target: Target, resolution: Resolution | NotSeen
) -> Iterator[Finding]:
    """NET030: every way through the rules refuses a connection to the front's port from outside, one to the backend's
    port from this host, or the answers to them. Rules that depend on who the client is prove nothing."""
    for who, port, blocked in _refusals(packet_filter, target, resolution):
        text = blocked.text or "-"
        yield Finding(
            "NET030",
            (
                quote(packet_filter.source, f"{blocked.place}: {text}"),
                Evidence(
                    f"tcp {port}",
                    Text(en=f"refused for {who.en} by it", zh=f"{who.zh.strip()}的连接被它拒绝"),
                ),
            ),
            {"refused_port": str(port), "rule": text, "chain": blocked.place, "who": who},
            explains=("connect.timeout", "connect.refused") if who is _USERS else None,
        )
        return


def _refusals(
    rules: PacketFilter, target: Target, resolution: Resolution | NotSeen
) -> Iterator[tuple[Text, int, PacketRefusal]]:
    """Who is refused at which port, and where."""
    outside = rules.interfaces or (None,)
    addresses = resolution.addresses if isinstance(resolution, Resolution) else ()
    families = ("ip6",) if addresses and all(":" in address for address in addresses) else ("ip",)
    front = _port(target.connect_to)
    backend = None if target.backend.startswith("unix:") else _port(target.backend)
    for family in families:
        for interface in outside:
            if front is not None and (refused_at := _way(rules, family, interface, front)):
                yield _USERS, front, refused_at
    if backend is not None:
        host, _ = split_address(target.backend)
        if refused_at := _way(rules, "ip6" if ":" in host else "ip", "lo", backend):
            yield _NGINX, backend, refused_at


def _way(rules: PacketFilter, family: str, interface: str | None, port: int) -> PacketRefusal | None:
    """Where a connection to ``port`` is refused: its first packet, or the answer to it."""
    first = Packet("input", family, interface, dport=port)
    answer = Packet("output", family, interface, state="established", sport=port)
    return refusal(rules, first) or refusal(rules, answer)


def _port(address: str | None) -> int | None:
    if not address:
        return None
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else None


CHECKS = (packet_filter,)
