"""What the host's packet filter does with a connection (nft(8), iptables(8)): pure, and sure or silent.

A condition that is not read, or that depends on who the client is, may hold or not. A connection counts as refused only
if every way through the rules refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

import msgspec

from ops.facts.packet_filter import FilterChain, FilterMatch, FilterRule, PacketFilter

_DEEPEST = 32
# Conditions on who sends: `-s` of iptables, an address or a set of them of nftables.
_SENDER = frozenset({"source", "ip saddr", "ip6 saddr", "set ip saddr", "set ip6 saddr"})
# Addresses that are some senders' alone: so many at most in one condition, and in all of them together. IPv4: a network
# of 8 bits, half of all; IPv6: a network of 16 bits, half of those that are given out (2000::/3).
_SOME = {4: 2**24, 6: 2**112}
_ALL_TOGETHER = {4: 2**31, 6: 2**124}
# IPv6 networks without strangers (RFC 4193, RFC 4291).
_LOCAL = (ip_network("fc00::/7"), ip_network("fe80::/10"))


class Packet(msgspec.Struct, frozen=True):
    """A packet of a connection over TCP. ``interface``: by which it comes or, at the hook ``output``, leaves; None if
    that is not known. ``state``: of its connection (conntrack): new, established."""

    hook: str
    family: str
    interface: str | None
    state: str = "new"
    dport: int | None = None
    sport: int | None = None


class PacketRefusal(msgspec.Struct, frozen=True):
    """Where a packet is refused: the chain, and the rule; None for the chain's policy."""

    chain: FilterChain
    rule: FilterRule | None

    @property
    def place(self) -> str:
        """The chain's whole name."""
        return f"{self.chain.family} {self.chain.table} {self.chain.name}"

    @property
    def text(self) -> str:
        """The rule, or the policy, for a person."""
        return self.rule.text if self.rule is not None else f"policy {self.chain.policy}"


class _Holds(StrEnum):
    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


class _Passed(StrEnum):
    """What became of a packet in a chain. OPEN: it may have been let in, or is let in. ON: no rule decided."""

    OPEN = "open"
    ON = "on"


def refusal(rules: PacketFilter, packet: Packet) -> PacketRefusal | None:
    """Where ``packet`` is surely refused; None if it may be let through."""
    hooks = ("output",) if packet.hook == "output" else ("prerouting", "input")
    for hook in hooks:
        chains = [c for c in rules.chains if c.hook == hook and c.family in ("inet", packet.family)]
        for chain in sorted(chains, key=lambda chain: chain.priority):
            outcome = _walk(chain, rules, packet, 0)
            if isinstance(outcome, PacketRefusal):
                return outcome
            if (
                chain.kind == "nat"
                and outcome is _Passed.OPEN
                and _may_be_translated(chain, rules, packet, 0)
            ):
                return None
            if outcome is _Passed.ON and chain.policy == "drop" and chain.kind == "filter":
                return PacketRefusal(chain, None)
    return None


def refuses_strangers(rules: PacketFilter, packet: Packet) -> bool:
    """Whether ``packet`` is refused unless its sender is one that a rule lets in by its address."""
    letting_in = [rule for chain in rules.chains for rule in chain.rules if _lets_some_in(rule)]
    if _are_all(letting_in):
        return False
    chains = tuple(
        msgspec.structs.replace(chain, rules=tuple(rule for rule in chain.rules if not _lets_some_in(rule)))
        for chain in rules.chains
    )
    return refusal(msgspec.structs.replace(rules, chains=chains), packet) is not None


def _lets_some_in(rule: FilterRule) -> bool:
    return rule.verdict not in ("drop", "reject") and any(map(_is_of_some, rule.matches))


def _is_of_some(match: FilterMatch) -> bool:
    """Whether the condition holds for some senders alone: "all but this one" is everybody, and so is half of IPv4."""
    return (
        match.what in _SENDER
        and not match.is_negated
        and all(count <= _SOME[version] for version, count in _sizes(match))
    )


def _are_all(rules: list[FilterRule]) -> bool:
    """Whether what the rules let in together is nearly everybody."""
    sizes = {size for rule in rules for match in rule.matches for size in _networks(match)}
    return any(
        sum(last - first + 1 for own, first, last in sizes if own == version) >= most
        for version, most in _ALL_TOGETHER.items()
    )


def _sizes(match: FilterMatch) -> Iterator[tuple[int, int]]:
    """How many addresses each value of a condition on the sender has, with their version."""
    return ((version, last - first + 1) for version, first, last in _networks(match))


def _networks(match: FilterMatch) -> Iterator[tuple[int, int, int]]:
    """Version, first and last address of each value of a condition on the sender; the name of a set is passed over, and
    what is local."""
    for value in match.values if match.what in _SENDER and not match.is_negated else ():
        first, dash, last = value.partition("-")
        try:
            if dash:
                start, end = ip_address(first), ip_address(last)
                yield start.version, int(start), int(end)
                continue
            network = ip_network(value, strict=False)
        except ValueError:
            continue
        if not any(network.version == 6 and network.subnet_of(local) for local in _LOCAL):  # type: ignore[arg-type]
            yield network.version, int(network.network_address), int(network.broadcast_address)


def _may_be_translated(chain: FilterChain, rules: PacketFilter, packet: Packet, depth: int) -> bool:
    """Whether a rule of a NAT chain may send the packet elsewhere."""
    for rule in chain.rules:
        if _holds_all(rule, packet) is _Holds.NO or depth > _DEEPEST:
            continue
        if rule.verdict == "other":
            return True
        if rule.verdict in ("jump", "goto"):
            inner = _chain(rules, chain, rule.target)
            if inner is not None and _may_be_translated(inner, rules, packet, depth + 1):
                return True
    return False


def _walk(chain: FilterChain, rules: PacketFilter, packet: Packet, depth: int) -> PacketRefusal | _Passed:
    """Go through a chain. A rule that may apply decides only in the packet's favour."""
    if depth > _DEEPEST:
        return _Passed.OPEN
    may_return = False
    for rule in chain.rules:
        holds = _holds_all(rule, packet)
        if holds is _Holds.NO or rule.verdict == "continue":
            continue
        outcome: PacketRefusal | _Passed
        match rule.verdict:
            case "drop" | "reject":
                outcome = PacketRefusal(chain, rule)
            case "jump" | "goto":
                inner = _chain(rules, chain, rule.target)
                outcome = _walk(inner, rules, packet, depth + 1) if inner is not None else _Passed.OPEN
                if outcome is _Passed.ON and rule.verdict == "goto":
                    if holds is _Holds.YES:
                        return _Passed.ON
                    may_return = True
            case "return":
                if holds is _Holds.YES:
                    return _Passed.ON
                may_return = True
                continue
            case _:
                outcome = _Passed.OPEN
        if outcome is _Passed.OPEN:
            return _Passed.OPEN
        if isinstance(outcome, PacketRefusal) and holds is _Holds.YES:
            # Where the packet may have left the chain before this rule, the chain above it decides.
            return _Passed.ON if may_return else outcome
    return _Passed.ON


def _chain(rules: PacketFilter, beside: FilterChain, name: str) -> FilterChain | None:
    return next(
        (
            chain
            for chain in rules.chains
            if (chain.family, chain.table, chain.name) == (beside.family, beside.table, name)
        ),
        None,
    )


def _holds_all(rule: FilterRule, packet: Packet) -> _Holds:
    outcomes = {_holds(match, packet) for match in rule.matches}
    if _Holds.NO in outcomes:
        return _Holds.NO
    return _Holds.MAYBE if _Holds.MAYBE in outcomes else _Holds.YES


def _holds(match: FilterMatch, packet: Packet) -> _Holds:
    fits: bool | None
    match match.what:
        case "protocol":
            fits = any(value in ("tcp", "6", "all", "0") for value in match.values)
        case "other protocol":
            fits = False
        case "dport" | "sport":
            port = packet.dport if match.what == "dport" else packet.sport
            fits = None if port is None else any(_covers(value, port) for value in match.values)
        case "iif" | "oif":
            own = "oif" if packet.hook == "output" else "iif"
            if match.what != own or packet.interface is None:
                fits = None
            else:
                fits = any(fnmatchcase(packet.interface, value) for value in match.values)
        case "state":
            fits = packet.state in match.values
        case "family":
            fits = any(value == {"ip": "ipv4", "ip6": "ipv6"}[packet.family] for value in match.values)
        case "syn":
            fits = packet.state == "new"
        case _:
            return _Holds.MAYBE
    if fits is None:
        return _Holds.MAYBE
    return _Holds.YES if fits != match.is_negated else _Holds.NO


def _covers(value: str, port: int) -> bool:
    first, dash, last = value.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        return False
    return int(first) <= port <= int(last) if dash else port == int(first)
