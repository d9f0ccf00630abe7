"""Find the processes that have accepted our connections."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from ops.interpret.address import join_address, same_address

Ends = tuple[str, int, str, int]


def held(address: str, pids: Iterable[int]) -> dict[int, frozenset[Ends]]:
    """This process's open TCP connections to ``address``, by the process of ``pids`` that has accepted them.

    A process without any, or that may not be read, is left out; a unix socket's peer cannot be found this way."""
    if address.startswith("unix:"):
        return {}
    own = {
        (theirs[0], theirs[1], ours[0], ours[1])
        for ours, theirs in _connections(psutil.Process().pid)
        if same_address(join_address(theirs[0], theirs[1]), address)
    }
    connections: dict[int, frozenset[Ends]] = {}
    for pid in pids if own else ():
        accepted = {(*local, *remote) for local, remote in _connections(pid)}
        if common := own & accepted:
            connections[pid] = frozenset(common)
    return connections


def _connections(pid: int) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    try:
        links = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    return [
        ((link.laddr.ip, link.laddr.port), (link.raddr.ip, link.raddr.port))
        for link in links
        if link.status == psutil.CONN_ESTABLISHED and link.laddr and link.raddr
    ]
