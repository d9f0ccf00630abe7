"""The addresses at which clients reach the front: name resolution, what is dialled, the certificates served there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.certificates import OldTls, OtherDoor, PemFile, Served
from ops.facts.host import Host
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Resolution
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import is_loopback, join_address, split_address
from ops.interpret.site import find_site

if TYPE_CHECKING:
    from ops.collect.net.probes import Probes

_ENDS_BEFORE = "TLS ends before this host: nginx's site has no listen with ssl"
# Time limit of a handshake on this host, seconds; FAR_SECONDS is that of one over the network.
HANDSHAKE_SECONDS = 4.0
FAR_SECONDS = 3.0
# Further addresses of the front that are probed, besides the first.
MAX_DOORS = 4


def resolve(probes: Probes, domain: str, resolver: str | None, deadline: float) -> Resolution | NotSeen:
    answer: Resolution | NotSeen = probes.ask("resolve", words=(domain, resolver), deadline=deadline)
    return answer


def dial_resolved(target: Target, resolution: object, host: object) -> Target:
    """The target with the address that its name resolves to, if that is this machine's; if it is another machine's and
    nginx has no TLS for the site, with the address that a balancer connects to."""
    if not isinstance(resolution, Resolution) or not isinstance(host, Host) or target.connect_to is None:
        return target
    own_addresses = {*host.addresses, "127.0.0.1", "::1"}
    if target.front_without_tls and resolution.addresses and not own_addresses & {*resolution.addresses}:
        # A balancer before this host ends TLS.
        return msgspec.structs.replace(
            target,
            connect_to=target.front_without_tls,
            front_tls=False,
            front_proxy_protocol=target.plain_proxy_protocol,
        )
    own = [address for address in resolution.addresses if address in host.addresses]
    if not own or any(address.startswith("127.") for address in own):
        return target
    port = int(target.connect_to.rpartition(":")[2])
    plain = target.plain_connect_to
    return msgspec.structs.replace(
        target,
        connect_to=join_address(own[0], port),
        plain_connect_to=plain and join_address(own[0], int(plain.rpartition(":")[2])),
    )


def served_elsewhere(
    probes: Probes, target: Target, resolution: object, host: object, deadline: float
) -> Served | NotSeen:
    """The certificate at the first resolved address that is neither this host's nor expected: behind address
    translation it is still this service. Where none is said to be expected, one of this host's is enough."""
    if not isinstance(resolution, Resolution) or not isinstance(host, Host) or not resolution.addresses:
        return NotSeen(reason="the name did not resolve")
    expected_addresses = (*host.addresses, *target.expected_addresses)
    others = [a for a in resolution.addresses if a not in expected_addresses and not is_loopback(a)]
    if not others or (len(others) < len(resolution.addresses) and not target.expected_addresses):
        return NotSeen(reason="the name leads to this host", is_lasting=True)
    port = urlsplit(target.url).port or 443
    place = join_address(others[0], port)
    return _served(probes, target, place, min(deadline, time.monotonic() + FAR_SECONDS))


def other_doors(
    probes: Probes,
    target: Target,
    config: NginxConfig | NotSeen,
    resolving: Task,
    host: Host | NotSeen,
    deadline: float,
) -> list[Task]:
    """Start probes of the other ways to the front door: each further address of this host that the name resolves to,
    and each kind of certificate if nginx may have several. None if there is one of each."""
    if not target.front_tls or target.connect_to is None or not isinstance(host, Host):
        return []
    resolution = resolving.wait(deadline)
    own, port = split_address(target.connect_to)
    resolved = resolution.addresses if isinstance(resolution, Resolution) else ()
    # If the front is dialled at loopback, that covers the first resolved address of the same family.
    stood_for = next((a for a in resolved if is_loopback(own) and (":" in a) == (":" in own)), own)
    others = [a for a in dict.fromkeys(resolved) if a in host.addresses and a not in (own, stood_for)]
    ways = [(join_address(address, port), "") for address in others[:MAX_DOORS]]
    site = find_site(config, target.domain, target.backend) if isinstance(config, NginxConfig) else None
    if site and len(site.server.effective("ssl_certificate")) > 1:
        ways += [(target.connect_to, "RSA"), (target.connect_to, "ECDSA")]
    by = min(deadline, time.monotonic() + HANDSHAKE_SECONDS)

    def ask(address: str, key: str) -> Task:
        words = (address, target.domain, target.ca_file, key)
        proxied = target.front_proxy_protocol
        return Task(
            f"front door {address} {key}",
            lambda: probes.ask("other_door", words=words, deadline=by, proxied=proxied),
        )

    return [ask(address, key) for address, key in ways]


def with_files(doors: list[Any], config: NginxConfig | NotSeen) -> tuple[OtherDoor, ...]:
    """The probed doors, each with the certificate files that nginx's configuration has for its address."""
    probed_doors = tuple(door for door in doors if isinstance(door, OtherDoor))
    if not probed_doors or not isinstance(config, NginxConfig):
        return probed_doors
    from ops.collect.services.certificate_files import pem_file

    return tuple(
        msgspec.structs.replace(
            door,
            files=tuple(
                file
                for path in nginx_topology.certificates_at(config, door.address)
                if isinstance(file := pem_file(path), PemFile)
            ),
        )
        for door in probed_doors
    )


def _served(
    probes: Probes, target: Target, address: str, deadline: float, *, proxied: bool = False
) -> Served | NotSeen:
    words = (address, target.domain, target.ca_file)
    served: Served | NotSeen = probes.ask("served", words=words, deadline=deadline, proxied=proxied)
    return served


def served_at_the_front(probes: Probes, target: Target, address: str, deadline: float) -> Served | NotSeen:
    if not target.front_tls:
        return NotSeen(reason=_ENDS_BEFORE)
    return _served(probes, target, address, deadline, proxied=target.front_proxy_protocol)


def old_tls(probes: Probes, target: Target, address: str, deadline: float) -> OldTls | NotSeen:
    if not target.front_tls:
        return NotSeen(reason=_ENDS_BEFORE)
    words, proxied = (address, target.domain), target.front_proxy_protocol
    outcome: OldTls | NotSeen = probes.ask("old_tls", words=words, deadline=deadline, proxied=proxied)
    return outcome
