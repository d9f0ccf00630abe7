"""Read the host's packet filter: `nft -j list ruleset`, and `iptables-save` for what nft does not print of iptables.

Only root may read it (nft(8)). A rule set of thousands of rules is not read.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.facts.base import NotSeen
from ops.facts.packet_filter import FilterChain, FilterMatch, FilterRule, PacketFilter
from ops.files.programs import refused_program, trusted_program
from ops.text.sanitize import safe_line

SECONDS = 1.5
MAX_OUTPUT_BYTES = 4 << 20
MAX_RULES = 4000
MAX_ELEMENTS = 2000
# Statements of nftables that decide nothing (nft(8), Statements).
_NO_VERDICT = frozenset({"counter", "log", "comment", "mangle", "notrack", "flow", "ct helper"})
# Those after which the rule goes on for some packets alone: up to a rate, a number or an amount, or above it.
_CONDITIONS = frozenset({"limit", "ct count", "connlimit", "quota", "meter", "fib", "socket", "osf"})
# Targets of iptables after which the next rule is looked at (iptables-extensions(8)).
_CONTINUING = frozenset(
    {
        "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "SET", "CT", "NOTRACK", "TRACE", "CHECKSUM", "DSCP",
        "TOS", "CLASSIFY", "AUDIT", "CONNSECMARK", "SECMARK", "TTL", "HL",
    }
)  # fmt: skip
_VERDICTS = ("accept", "drop", "reject", "return", "continue")


def packet_filter(deadline: float) -> PacketFilter | NotSeen:
    """The rules in force. ``deadline``: time.monotonic. NotSeen unless root reads them."""
    if os.geteuid() != 0:
        return NotSeen(reason="the packet filter's rules", needs_root=True)
    nft = _listed("nft", ("-j", "list", "ruleset"), deadline)
    if isinstance(nft, NotSeen):
        return nft
    chains, has_opaque = parse_nft(nft) if nft else ((), False)
    source = "nft list ruleset"
    if has_opaque or nft is None:
        saved = [(family, _listed(program, (), deadline)) for family, program in _SAVERS]
        if (unread := next((text for _, text in saved if isinstance(text, NotSeen)), None)) is not None:
            # A part of the rules would show less than is refused.
            return unread
        texts = [(family, text) for family, text in saved if isinstance(text, str) and text]
        if texts:
            known = {family for family, _ in texts}
            own = tuple(chain for family, text in texts for chain in parse_iptables(text, family))
            # iptables' chains have these names and these families alone.
            tables = {(chain.family, chain.table) for chain in own}
            others = tuple(c for c in chains if c.family not in known or (c.family, c.table) not in tables)
            chains, source = (*others, *own), "iptables-save" if nft is None else source
    if sum(len(chain.rules) for chain in chains) > MAX_RULES:
        return NotSeen(reason=f"the packet filter has more than {MAX_RULES} rules")
    return PacketFilter(chains=chains, source=source, interfaces=tuple(_default_interfaces()))


_SAVERS = (("ip", "iptables-save"), ("ip6", "ip6tables-save"))


def _listed(name: str, arguments: tuple[str, ...], deadline: float) -> str | NotSeen | None:
    """The program's output; None if it is not installed, or the kernel has no such tables."""
    program = trusted_program(name)
    if program is None:
        refused = refused_program(name)
        return NotSeen(reason=refused, is_refused=True) if refused else None
    seconds = min(SECONDS, deadline - time.monotonic())
    if seconds <= 0:
        return NotSeen(reason="the packet filter was not read in time")
    try:
        result = subprocess.run(
            [program, *arguments], capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return NotSeen(reason="the packet filter was not read in time")
    if result.returncode != 0:
        words = result.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        return NotSeen(reason=safe_line(f"{name}: {words or result.returncode}", 300))
    if len(result.stdout) > MAX_OUTPUT_BYTES:
        return NotSeen(reason=f"the packet filter has more than {MAX_RULES} rules")
    return result.stdout.decode("utf-8", "replace")


def _default_interfaces() -> Iterator[str]:
    """The interfaces of the default routes, of IPv4 and of IPv6 (proc(5), /proc/net/route; ipv6_route)."""
    names: dict[str, None] = {}
    for path, column, name in (("/proc/net/route", 1, 0), ("/proc/net/ipv6_route", 0, 9)):
        try:
            rows = [line.split() for line in Path(path).read_text().splitlines()]
        except OSError:
            continue
        for row in rows:
            if len(row) > max(column, name) and set(row[column]) == {"0"}:
                # Destination 0 with prefix 0: for IPv4 the mask is the eighth column.
                mask = row[7] if path.endswith("/route") and len(row) > 7 else row[1]
                if set(mask) == {"0"} and row[name] != "lo":
                    names[safe_line(row[name], 40)] = None
    yield from names


# --- nftables --------------------------------------------------------------------------------------------------------


def parse_nft(text: str) -> tuple[tuple[FilterChain, ...], bool]:
    """The chains in the output of `nft -j list ruleset` (libnftables-json(5)), and whether a rule has conditions of
    iptables' that nft does not print."""
    try:
        items = json.loads(text)["nftables"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return (), False
    sets: dict[tuple[str, str, str], tuple[str, ...]] = {}
    chains: dict[tuple[str, str, str], FilterChain] = {}
    rules: dict[tuple[str, str, str], list[FilterRule]] = {}
    has_opaque = False
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict):
            continue
        for kind, value in item.items():
            if not isinstance(value, dict):
                continue
            family, table = str(value.get("family", "")), str(value.get("table", ""))
            if kind in ("set", "map"):
                elements = value.get("elem", [])
                sets[family, table, str(value.get("name"))] = tuple(_values(elements))[:MAX_ELEMENTS]
            elif kind == "chain":
                chains[family, table, str(value.get("name"))] = FilterChain(
                    family=safe_line(family, 20),
                    table=safe_line(table, 100),
                    name=safe_line(str(value.get("name", "")), 100),
                    hook=safe_line(str(value.get("hook", "")), 20),
                    kind=safe_line(str(value.get("type", "filter")), 20),
                    priority=value["prio"] if isinstance(value.get("prio"), int) else 0,
                    policy=safe_line(str(value.get("policy", "accept")), 20),
                )
            elif kind == "rule":
                expressions = value.get("expr", [])
                has_opaque = has_opaque or "xt" in {key for e in expressions for key in e}
                place = (family, table, str(value.get("chain")))
                rules.setdefault(place, []).extend(_nft_rules(expressions, family, table, sets))
    from msgspec.structs import replace

    return (
        tuple(replace(chain, rules=tuple(rules.get(place, ()))) for place, chain in chains.items()),
        has_opaque,
    )


def _nft_rules(
    expressions: list[dict[str, Any]],
    family: str,
    table: str,
    sets: dict[tuple[str, str, str], tuple[str, ...]],
) -> Iterator[FilterRule]:
    """One rule of nftables: several here if it ends in a verdict map."""
    matches: list[FilterMatch] = []
    text = safe_line(_words(expressions), 300)
    for expression in expressions:
        for name, value in expression.items():
            if name == "match":
                matches.append(_nft_match(value, family, table, sets))
            elif name in _VERDICTS:
                yield FilterRule(tuple(matches), name, text=text)
                return
            elif name in ("jump", "goto"):
                yield FilterRule(tuple(matches), name, safe_line(str(value.get("target", "")), 100), text)
                return
            elif name == "vmap":
                yield from _verdict_map(value, matches, text)
                return
            elif name == "xt":
                if value.get("type") == "match":
                    if value.get("name") != "comment":
                        matches.append(FilterMatch(f"xt {value.get('name')}"))
                else:
                    yield FilterRule(tuple(matches), _of_target(str(value.get("name"))), text=text)
                    return
            elif name in _CONDITIONS:
                matches.append(FilterMatch(name))
            elif name == "set" and isinstance(value, dict):
                # `update @clients { ip saddr limit rate over 10/second }`; a counter there lets every packet on.
                if any(key in _CONDITIONS for statement in value.get("stmt") or () for key in statement):
                    matches.append(FilterMatch("set elements"))
            elif name not in _NO_VERDICT:
                yield FilterRule(tuple(matches), "other", text=text)
                return
    yield FilterRule(tuple(matches), "continue", text=text)


def _verdict_map(value: Any, matches: list[FilterMatch], text: str) -> Iterator[FilterRule]:
    what = _key(value.get("key", {})) if isinstance(value, dict) else ""
    data = value.get("data", {}) if isinstance(value, dict) else {}
    pairs = data.get("set") if isinstance(data, dict) else None
    if not isinstance(pairs, list):
        yield FilterRule((*matches, FilterMatch("map")), "other", text=text)
        return
    for pair in pairs[:MAX_ELEMENTS]:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)):
            continue
        verdict = next(iter(pair[1]), "other")
        inner = pair[1].get(verdict)
        target = safe_line(str(inner.get("target", "")), 100) if isinstance(inner, dict) else ""
        condition = FilterMatch(what or "map", tuple(_values([pair[0]])))
        known = verdict if verdict in (*_VERDICTS, "jump", "goto") else "other"
        yield FilterRule((*matches, condition), known, target, text)


def _nft_match(
    value: Any, family: str, table: str, sets: dict[tuple[str, str, str], tuple[str, ...]]
) -> FilterMatch:
    if not isinstance(value, dict):
        return FilterMatch("unread")
    what, right = _key(value.get("left")), value.get("right")
    is_negated = value.get("op") == "!="
    if not what or value.get("op") not in ("==", "!=", "in"):
        return FilterMatch(what or "unread")
    if isinstance(right, str) and right.startswith("@"):
        known = sets.get((family, table, right[1:]))
        return FilterMatch(what, known, is_negated) if known is not None else FilterMatch(f"set {what}")
    return FilterMatch(what, tuple(_values(right))[:MAX_ELEMENTS], is_negated)


def _key(left: Any) -> str:
    """The part of a packet that a condition is about, empty for one that is not read."""
    if not isinstance(left, dict):
        return ""
    if isinstance(meta := left.get("meta"), dict):
        key = meta.get("key")
        names = {"iif": "iif", "iifname": "iif", "oif": "oif", "oifname": "oif", "l4proto": "protocol",
                 "nfproto": "family"}  # fmt: skip
        return names.get(str(key), f"meta {key}")
    if isinstance(payload := left.get("payload"), dict):
        protocol, field = str(payload.get("protocol")), str(payload.get("field"))
        if field in ("dport", "sport") and protocol in ("tcp", "th"):
            return field
        if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")):
            return "protocol"
        # A field of another protocol's header: the rule is not for a connection over TCP.
        return "other protocol" if protocol in ("udp", "icmp", "icmpv6", "sctp") else f"{protocol} {field}"
    if isinstance(ct := left.get("ct"), dict):
        return "state" if ct.get("key") == "state" else f"ct {ct.get('key')}"
    if isinstance(masked := left.get("&"), list) and masked and _key(masked[0]) == "tcp flags":
        return "flags"
    return ""


def _values(right: Any) -> Iterator[str]:
    """The values of a condition: words, numbers, and ranges as ``first-last``."""
    if isinstance(right, list):
        for item in right:
            yield from _values(item)
    elif isinstance(right, dict):
        if isinstance(ends := right.get("range"), list) and len(ends) == 2:
            yield f"{ends[0]}-{ends[1]}"
        elif "set" in right:
            yield from _values(right["set"])
        elif isinstance(element := right.get("elem"), dict):
            yield from _values(element.get("val"))
        elif isinstance(prefix := right.get("prefix"), dict):
            yield f"{prefix.get('addr')}/{prefix.get('len')}"
    elif isinstance(right, str | int) and not isinstance(right, bool):
        yield safe_line(str(right), 100)


def _words(expressions: list[dict[str, Any]]) -> str:
    """A rule as nft writes it, nearly."""
    words: list[str] = []
    for expression in expressions:
        for name, value in expression.items():
            if name == "match" and isinstance(value, dict):
                right = ", ".join(_values(value.get("right")))
                operator = "!= " if value.get("op") == "!=" else ""
                words.append(f"{_key(value.get('left')) or '?'} {operator}{right or value.get('right')}")
            elif name in ("jump", "goto") and isinstance(value, dict):
                words.append(f"{name} {value.get('target')}")
            elif name == "xt" and isinstance(value, dict):
                words.append(str(value.get("name")))
            elif name != "counter":
                words.append(name)
    return " ".join(words)


def _of_target(name: str) -> str:
    if name in _CONTINUING:
        return "continue"
    return name.lower() if name in ("ACCEPT", "DROP", "REJECT", "RETURN") else "other"


# --- iptables --------------------------------------------------------------------------------------------------------

_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "OUTPUT": "output"}
# The order in which the kernel asks iptables' tables (nf_ip_hook_priorities).
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}


def parse_iptables(text: str, family: str) -> Iterator[FilterChain]:
    """The chains in the output of iptables-save or ip6tables-save."""
    table = ""
    policies: dict[tuple[str, str], str] = {}
    rules: dict[tuple[str, str], list[FilterRule]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = [*line[1:].split(), "-", "-"][:2]
            policies[table, name] = policy
        elif line.startswith("-A "):
            try:
                words = shlex.split(line)
            except ValueError:
                continue
            rules.setdefault((table, words[1]), []).append(_iptables_rule(words[2:], safe_line(line, 300)))
    for (own, name), policy in policies.items():
        yield FilterChain(
            family=family,
            table=safe_line(own, 40),
            name=safe_line(name, 100),
            hook=_HOOKS.get(name, ""),
            kind="nat" if own == "nat" else "filter",
            priority=_PRIORITIES.get(own, 0),
            policy="drop" if policy == "DROP" else "accept",
            rules=tuple(rules.get((own, name), ())),
        )


_OPTIONS = {
    "-p": "protocol", "--protocol": "protocol", "-i": "iif", "--in-interface": "iif", "-o": "oif",
    "--out-interface": "oif", "--dport": "dport", "--dports": "dport", "--destination-port": "dport",
    "--sport": "sport", "--sports": "sport", "--source-port": "sport", "--ctstate": "state", "--state": "state",
    "-s": "source", "-d": "destination",
}  # fmt: skip
# Modules whose own options are among those above, or that state no condition.
_READ_MODULES = ("tcp", "multiport", "conntrack", "state", "comment")


def _iptables_rule(words: list[str], text: str) -> FilterRule:
    matches: list[FilterMatch] = []
    verdict, target, is_negated, at = "continue", "", False, 0
    while at < len(words):
        word, following = words[at], words[at + 1] if at + 1 < len(words) else ""
        at += 2
        if word == "!":
            is_negated, at = True, at - 1
            continue
        if word in ("-j", "-g"):
            verdict = _of_target(following)
            if verdict == "other" and (word == "-g" or not following.isupper() or "_" in following):
                verdict, target = ("goto" if word == "-g" else "jump"), safe_line(following, 100)
            elif verdict == "other":
                target = safe_line(following, 100)
            break
        if word == "-m":
            if following == "udp":
                matches.append(FilterMatch("other protocol"))
            elif following not in _READ_MODULES:
                matches.append(FilterMatch(f"module {following}"))
        elif word in _OPTIONS:
            values = tuple(safe_line(v.replace(":", "-"), 100) for v in following.split(","))
            if _OPTIONS[word] in ("iif", "oif"):
                values = (following.replace("+", "*"),)
            elif _OPTIONS[word] == "state":
                values = tuple(value.lower() for value in values)
            matches.append(FilterMatch(_OPTIONS[word], values, is_negated))
        elif word == "--syn":
            matches.append(FilterMatch("syn", (), is_negated))
            at -= 1
        elif word == "--tcp-flags":
            # SYN alone among the four that begin and end connections is what --syn means.
            flags = words[at] if at < len(words) else ""
            is_syn = flags == "SYN" and {"SYN", "ACK"} <= set(following.split(","))
            matches.append(FilterMatch("syn" if is_syn else "flags", (), is_negated))
            at += 1
        elif not word.startswith("-"):
            at -= 1
        is_negated = False
    return FilterRule(tuple(matches), verdict, target, text)
