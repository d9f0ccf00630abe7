"""The host's packet filter: rules that refuse every user, and rules that may let one in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.collect.host.packet_filter import parse_iptables, parse_nft
from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.packet_filter import PacketFilter
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import GUNICORN_MASTER, NGINX_LISTENERS, but, processes

Statement = dict[str, Any]


def match(left: Statement, right: Any, op: str = "==") -> Statement:
    return {"match": {"op": op, "left": left, "right": right}}


def port(right: Any, op: str = "==", protocol: str = "tcp") -> Statement:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


def meta(key: str, right: Any, op: str = "==") -> Statement:
    return match({"meta": {"key": key}}, right, op)


def saddr(right: Any) -> Statement:
    return match({"payload": {"protocol": "ip", "field": "saddr"}}, right)


def state(*right: str) -> Statement:
    return match({"ct": {"key": "state"}}, list(right), "in")


def jump(chain: str, verb: str = "jump") -> Statement:
    return {verb: {"target": chain}}


ACCEPT, DROP, RETURN = {"accept": None}, {"drop": None}, {"return": None}
REJECT: Statement = {"reject": {"type": "tcp reset"}}
COUNTER: Statement = {"counter": {"packets": 0, "bytes": 0}}
LOOPBACK = (meta("iifname", "lo"), ACCEPT)
ESTABLISHED = (state("established", "related"), ACCEPT)


def nft(
    *rules: tuple[Statement, ...],
    policy: str = "accept",
    hook: str = "input",
    family: str = "inet",
    kind: str = "filter",
    more: tuple[Statement, ...] = (),
    interfaces: tuple[str, ...] = ("eth0",),
) -> Snapshot:
    """The healthy host with one base chain of ``rules``."""
    place = {"family": family, "table": "filter"}
    chain = {"chain": {**place, "name": "input", "type": kind, "hook": hook, "prio": 0, "policy": policy}}
    own = [{"rule": {**place, "chain": "input", "expr": list(rule)}} for rule in rules]
    chains, _ = parse_nft(json.dumps({"nftables": [chain, *more, *own]}))
    return but(packet_filter=PacketFilter(chains=chains, interfaces=interfaces))


def beside(name: str, *rules: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """A chain that jumps lead to."""
    place = {"family": "inet", "table": "filter"}
    own = tuple({"rule": {**place, "chain": name, "expr": list(rule)}} for rule in rules)
    return ({"chain": {**place, "name": name}}, *own)


def saved(*rules: str, policy: str = "ACCEPT") -> Snapshot:
    """The healthy host with rules of iptables."""
    text = "\n".join(("*filter", f":INPUT {policy} [0:0]", ":ufw-user-input - [0:0]", *rules, "COMMIT"))
    chains = tuple(parse_iptables(text, "ip"))
    return but(packet_filter=PacketFilter(chains=chains, source="iptables-save", interfaces=("eth0",)))


def exposed(snapshot: Snapshot) -> Snapshot:
    """gunicorn listens on every address."""
    listener = Listener(address="0.0.0.0:8000", pids=(GUNICORN_MASTER,), queued=0)
    return but(snapshot, processes=processes(listeners=(*NGINX_LISTENERS, listener)))


SET = ({"set": {"family": "inet", "table": "filter", "name": "web", "elem": [80, {"range": [440, 450]}]}},)
VMAP: Statement = {
    "vmap": {
        "key": {"ct": {"key": "state"}},
        "data": {"set": [["established", ACCEPT], ["related", ACCEPT], ["invalid", DROP]]},
    }
}
CLIENT: Statement = {"payload": {"protocol": "ip", "field": "saddr"}}
RATE: Statement = {"limit": {"rate": 10, "burst": 5, "per": "second", "inv": True}}
METER: Statement = {
    "meter": {"key": CLIENT, "stmt": {"ct count": {"val": 100, "inv": True}}, "name": "gte_api"}
}
CASES = [
    fires("NET030", "drop", nft((port(443), DROP)), "dport 443 drop", severity="fail"),
    fires("NET030", "reject with a counter before it", nft(
        (port(443), COUNTER, REJECT)
    ), facts={"refused_port": "443"}),
    fires("NET030", "drop of all but another port", nft((port(22, "!="), DROP))),
    fires("NET030", "no accept, and the policy drops", nft(LOOPBACK, ESTABLISHED, policy="drop"), "policy drop"),
    fires("NET030", "accepts of other ports alone", nft(
        LOOPBACK, (port({"set": [22, 80]}), ACCEPT), policy="drop"
    )),
    fires("NET030", "by a set of ports", nft((port("@web"), DROP), more=SET)),
    fires("NET030", "states by a map, and no accept for new ones", nft(LOOPBACK, (VMAP,), policy="drop")),
    fires("NET030", "in a chain that a rule jumps to", nft(
        (port(443), jump("web")), more=beside("web", (REJECT,))
    )),
    fires("NET030", "after a chain that returns", nft(
        (jump("web"),), (port(443), DROP), more=beside("web", (port(443), RETURN), (ACCEPT,))
    )),
    fires("NET030", "by the interface that users come by", nft((meta("iifname", "eth0"), port(443), DROP))),
    fires("NET030", "by its wildcard", nft((meta("iifname", "eth*"), port(443), DROP))),
    fires("NET030", "for IPv4 alone", nft((port(443), DROP), family="ip")),
    fires("NET030", "before the route is known", nft((port(443), DROP), hook="prerouting")),
    fires("NET030", "the answers are dropped", nft(
        (match({"payload": {"protocol": "tcp", "field": "sport"}}, 443), DROP), hook="output"
    )),
    fires("NET030", "the backend's port, over loopback", nft(
        (meta("iif", "lo"), port(8000), DROP)
    ), facts={"refused_port": "8000", "who": "nginx"}),
    fires("NET030", "loopback is not let in", nft(ESTABLISHED, (port(443), ACCEPT), policy="drop"),
          facts={"refused_port": "8000"}),
    fires("NET030", "iptables: drop", saved("-A INPUT -p tcp -m tcp --dport 443 -j DROP"), "--dport 443 -j DROP"),
    fires("NET030", "iptables: reject with an option", saved(
        "-A INPUT -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset"
    )),
    fires("NET030", "iptables: no accept", saved(
        "-A INPUT -i lo -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        '-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "the way in" -j ACCEPT', policy="DROP",
    )),
    fires("NET030", "iptables: logged, then dropped", saved(
        "-A INPUT -p tcp -m tcp --dport 443 -j LOG --log-prefix x", "-A INPUT -p tcp -m tcp --dport 443 -j DROP",
    )),
    quiet("NET030", "no rules", nft()),
    quiet("NET003", "open to the balancer alone", exposed(nft(
        (saddr("10.0.0.1"), port(8000), ACCEPT), (port(8000), DROP)
    ))),
    quiet("NET003", "open to the balancer alone, by iptables", exposed(saved(
        "-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 8000 -j ACCEPT", policy="DROP"
    ))),
    fires("NET003", "open to everybody by default", exposed(nft((saddr("10.0.0.1"), port(8000), ACCEPT)))),
    fires("NET003", "open to everybody but one", exposed(saved(
        "-A INPUT ! -s 10.9.9.9/32 -p tcp -m tcp --dport 8000 -j ACCEPT", policy="DROP"
    ))),
    fires("NET003", "open to both halves of IPv4", exposed(saved(
        "-A INPUT -s 0.0.0.0/1 -p tcp -m tcp --dport 8000 -j ACCEPT",
        "-A INPUT -s 128.0.0.0/1 -p tcp -m tcp --dport 8000 -j ACCEPT", policy="DROP",
    ))),
    fires("NET003", "open to one half of IPv4", exposed(nft(
        (saddr({"range": ["128.0.0.0", "255.255.255.255"]}), port(8000), ACCEPT), policy="drop"
    ))),
    fires("NET003", "open to everybody in small parts", exposed(saved(
        *(f"-A INPUT -s {first}.0.0.0/8 -p tcp -m tcp --dport 8000 -j ACCEPT" for first in range(1, 224)),
        policy="DROP",
    ))),
    quiet("NET003", "open to the private networks", exposed(saved(
        "-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 8000 -j ACCEPT",
        "-A INPUT -s 192.168.0.0/16 -p tcp -m tcp --dport 8000 -j ACCEPT", policy="DROP",
    ))),
    fires("NET003", "closed on another port", exposed(nft((port(9000), DROP)))),
    fires("NET003", "a rule lets everybody in before", exposed(nft((port(8000), ACCEPT), (port(8000), DROP)))),
    fires("NET003", "some are dropped, the others let in", exposed(nft((saddr("10.9.9.9"), port(8000), DROP)))),
    quiet("NET030", "accept before the drop", nft((port({"set": [443, 80]}), ACCEPT), (port(443), DROP))),
    quiet("NET030", "another port is dropped", nft((port(8443), DROP))),
    quiet("NET030", "the same port of UDP is dropped", nft((port(443, protocol="udp"), DROP))),
    quiet("NET030", "dropped for some clients", nft((saddr("@banned"), port(443), REJECT))),
    quiet("NET030", "let in for some clients alone", nft(
        LOOPBACK, (saddr({"prefix": {"addr": "10.0.0.0", "len": 8}}), port(443), ACCEPT), policy="drop"
    )),
    quiet("NET030", "above a rate alone", nft(
        (port(443), {"limit": {"rate": 10, "burst": 5, "per": "second", "inv": True}}, DROP)
    )),
    quiet("NET030", "above a number of connections of one client", nft((port(443), state("new"), METER, REJECT))),
    quiet("NET030", "above a client's rate, by a dynamic set", nft(
        (port(443), {"set": {"op": "update", "elem": CLIENT, "set": "@clients", "stmt": [RATE]}}, DROP)
    )),
    quiet("NET030", "above an amount", nft(
        (port(443), {"quota": {"val": 1, "val_unit": "gbytes", "inv": True}}, DROP)
    )),
    fires("NET030", "clients are noted in a set, and dropped", nft(
        (port(443), {"set": {"op": "add", "elem": CLIENT, "set": "@clients"}}, DROP)
    )),
    fires("NET030", "clients are counted in a set, and dropped", nft(
        (port(443), {"set": {"op": "add", "elem": CLIENT, "set": "@clients", "stmt": [COUNTER]}}, DROP)
    )),
    quiet("NET030", "above a client's number of connections, counted in a dynamic set", nft(
        (port(443), {"set": {"op": "add", "elem": CLIENT, "set": "@clients", "stmt": [COUNTER, {"ct count": {
            "val": 9, "inv": True}}]}}, DROP)
    )),
    quiet("NET030", "by another interface", nft((meta("iifname", "wg0"), port(443), DROP))),
    quiet("NET030", "an interface that is not known", nft(
        (meta("iifname", "eth1"), port(443), DROP), interfaces=()
    )),
    quiet("NET030", "a chain of forwarded packets", nft((port(443), DROP), hook="forward")),
    quiet("NET030", "sent elsewhere by NAT first", nft(
        (port(443), {"redirect": {"port": 8443}}), hook="prerouting", kind="nat",
        more=beside("unused"),
    )),
    quiet("NET030", "a chain that may let it in", nft(
        (port(443), jump("web")), (port(443), DROP), more=beside("web", (saddr("@known"), ACCEPT))
    )),
    quiet("NET030", "for IPv6 alone", nft((port(443), DROP), family="ip6")),
    quiet("NET030", "invalid packets", nft((state("invalid"), DROP))),
    quiet("NET030", "iptables: a module that is not read", saved(
        "-A INPUT -m recent --update --seconds 60 -p tcp --dport 443 -j DROP"
    )),
    quiet("NET030", "iptables: ufw lets it in", saved(
        "-A INPUT -i lo -j ACCEPT", "-A INPUT -j ufw-user-input",
        "-A ufw-user-input -p tcp -m multiport --dports 80,443 -j ACCEPT", policy="DROP",
    )),
    quiet("NET030", "iptables: another protocol", saved("-A INPUT -p udp -m udp --dport 443 -j DROP")),
    quiet("NET030", "it was not seen", but(packet_filter=NotSeen(reason="-", needs_root=True))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"nftables": 1}', '{"nftables": [1, {"rule": 2}, {"chain": {}}]}']
)
def test_what_is_no_rule_set_is_no_rules(text: str) -> None:
    chains, has_opaque = parse_nft(text)
    assert not [chain for chain in chains if chain.rules]
    assert not has_opaque


def test_conditions_that_nft_does_not_print_are_known_to_be_missing() -> None:
    place = {"family": "ip", "table": "filter", "chain": "INPUT"}
    rule = {"rule": {**place, "expr": [{"xt": {"type": "match", "name": "conntrack"}}, ACCEPT]}}
    assert parse_nft(json.dumps({"nftables": [rule]}))[1]
