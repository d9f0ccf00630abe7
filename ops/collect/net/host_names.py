"""Resolve the host names that nginx sends requests to with the system's resolver: /etc/hosts, then DNS."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

from ops.collect.net.connection import Deadline, ShorterDeadline
from ops.collect.net.http_probe import connect
from ops.facts.probes import Connection, HostNames
from ops.interpret.address import join_address

MAX_NAMES = 32
SECONDS = 2.0
JOIN_SECONDS = 0.2


def host_names(names: Iterable[str], seconds: float = SECONDS) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each of ``names``, in the resolver's order. Leave out a name without addresses or without
    an answer within ``seconds``."""
    addresses: dict[str, tuple[str, ...]] = {}
    threads = [
        threading.Thread(target=_resolve, args=(name, addresses), daemon=True)
        for name in list(names)[:MAX_NAMES]
    ]
    give_up = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return dict(addresses)


def resolved_and_dialled(words: Iterable[str], patience: Deadline) -> HostNames:
    """Resolve each host name, and connect to each address of a ``NAME:PORT``."""
    requests = [word.partition(":") for word in words]
    addresses = host_names(dict.fromkeys(name for name, _, _ in requests))
    places = dict.fromkeys(
        join_address(address, int(port))
        for name, _, port in requests
        if port
        for address in addresses.get(name, ())
    )
    connections: dict[str, Connection] = {}
    shorter = ShorterDeadline(patience, time.monotonic() + SECONDS)

    def dial(place: str) -> None:
        connections[place] = connect(place, shorter.deadline, shorter)

    threads = [
        threading.Thread(target=dial, args=(place,), daemon=True) for place in list(places)[:MAX_NAMES]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, shorter.deadline - time.monotonic()) + JOIN_SECONDS)
    return HostNames(
        addresses=addresses, dialled=tuple(connections[place] for place in places if place in connections)
    )


def _resolve(name: str, addresses: dict[str, tuple[str, ...]]) -> None:
    try:
        # The same arguments as nginx's ngx_inet_resolve_host.
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError):
        return
    addresses[name] = tuple(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in entries))
