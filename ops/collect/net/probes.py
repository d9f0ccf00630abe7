"""The network probes by name, so that this process or one with fewer privileges can run them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ops.collect.net.connection import Deadline
from ops.facts.base import NotSeen
from ops.facts.certificates import OldTls, OtherDoor, Served
from ops.facts.probes import Backend, Front, HostNames, Resolution, Upstreams
from ops.facts.target import Target

RESULTS: Mapping[str, Any] = {
    "front": Front | NotSeen,
    "backend": Backend | NotSeen,
    "upstreams": Upstreams | NotSeen,
    "served": Served | NotSeen,
    "old_tls": OldTls | NotSeen,
    "other_door": OtherDoor | NotSeen,
    "resolve": Resolution | NotSeen,
    "host_names": HostNames | NotSeen,
}


class ProbeRequest(msgspec.Struct):
    """A probe, ``what`` (a key of `RESULTS`), with its arguments; an empty ``what`` cuts all waits with ``reason``.
    ``proxied``: send the PROXY protocol's line first; ``headers``: private ones (`ops.collect.net.private_headers`)."""

    number: int
    what: str = ""
    target: Target | None = None
    words: tuple[str | None, ...] = ()
    deadline: float = 0.0
    repeat: bool = False
    proxied: bool = False
    reason: str = ""
    headers: dict[str, str] = {}


def probe(request: ProbeRequest, patience: Deadline) -> Any:
    """Run a probe and return its result, of the type in `RESULTS`."""
    from ops.collect.net import dns, service_probes, tls

    target = request.target
    match request.what:
        case "front" if target:
            return service_probes.probe_front(target, patience, request.headers)
        case "backend" if target:
            return service_probes.probe_backend(
                target, patience, repeat=request.repeat, headers=request.headers
            )
        case "upstreams" if target:
            return service_probes.probe_upstreams(target, patience)
        case "served":
            address, domain, ca_file = request.words
            return tls.served_certificate(
                address or "", domain or "", ca_file, request.deadline, proxied=request.proxied
            )
        case "old_tls":
            address, domain = request.words[:2]
            return tls.old_tls(address or "", domain or "", request.deadline, proxied=request.proxied)
        case "other_door":
            address, domain, ca_file, key = request.words
            return tls.other_door(
                address or "", domain or "", ca_file, request.deadline, key=key or "", proxied=request.proxied
            )
        case "resolve":
            domain, resolver = request.words[:2]
            return dns.resolve(domain or "", resolver, request.deadline)
        case "host_names":
            from ops.collect.net.host_names import resolved_and_dialled

            return resolved_and_dialled([word for word in request.words if word], patience)
    return NotSeen(reason=f"no probe is called {request.what}")


class Probes:
    """Probes run by this process itself."""

    def __init__(self, deadline: float) -> None:
        """``deadline``: of all exchanges (time.monotonic)."""
        self.patience = Deadline(deadline)

    def ask(self, what: str, **arguments: Any) -> Any:
        """Run one probe and return its result (`RESULTS`)."""
        return probe(ProbeRequest(number=0, what=what, **arguments), self.patience)

    def close(self) -> None:
        """Do nothing: there is no other process to end."""
