"""The host's packet filter: the rules that a connection passes, in one form for nftables and for iptables."""

from __future__ import annotations

from ops.facts.base import Facts


class FilterMatch(Facts, frozen=True):
    """One condition of a rule. ``what``: protocol, dport, sport, iif, oif, state, family, syn; anything else is a
    condition that is not read. ``values``: words, ports and ranges of ports (``8000-8010``), any of which fits;
    ``is_negated``: none of them does."""

    what: str
    values: tuple[str, ...] = ()
    is_negated: bool = False


class FilterRule(Facts, frozen=True):
    """One rule. ``verdict``: accept, drop, reject, jump, goto, return, continue; ``other`` for what is not read (NAT, a
    queue). ``target``: the chain that jump and goto lead to; ``text``: the rule, for a person."""

    matches: tuple[FilterMatch, ...]
    verdict: str
    target: str = ""
    text: str = ""


class FilterChain(Facts, frozen=True):
    """One chain. ``hook``: prerouting, input, output; empty for one that only jumps lead to; ``kind``: filter, nat,
    route; ``policy``: what becomes of a packet that no rule decides."""

    family: str
    table: str
    name: str
    hook: str = ""
    kind: str = "filter"
    priority: int = 0
    policy: str = "accept"
    rules: tuple[FilterRule, ...] = ()


class PacketFilter(Facts, frozen=True):
    """All chains. ``source``: the command that lists them; ``interfaces``: those of the default routes, by which users
    come."""

    chains: tuple[FilterChain, ...]
    source: str = "nft list ruleset"
    interfaces: tuple[str, ...] = ()
