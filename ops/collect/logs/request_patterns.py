"""Who is refused, and what one client is told of one address in turn: counted while an access log is read, the newest
line first."""

from __future__ import annotations

import msgspec

from ops.collect.logs.line import Request

MAX_CLIENTS = 64
MAX_URLS = 20_000
# Seconds between two requests for the same address, at most: later it may be another by rights.
SOON = 10.0
REFUSALS = (b"400", b"401", b"403", b"404", b"409", b"410", b"415", b"422", b"429")
# Told in turn with good answers: what is there and not there, or a visitor or a session that is known and not known.
TURNS = (b"400", b"404", b"410", b"401", b"403", b"302", b"303")
_READS = (b"GET", b"HEAD")


def asker(request: Request) -> tuple[bytes, bytes, bytes]:
    """Who asks for which address."""
    return request.client, request.agent, request.path


class _Url(msgspec.Struct):
    """What a client was told of one address: ``changes``: what the client had sent beside reading it, by then;
    ``pending``: refusals since the last good answer."""

    time: float
    changes: int
    is_served: bool
    pending: int = 0


class RequestPatterns:
    """``clients``: of refused requests, the different addresses; ``alternating``: refusals between two good answers to
    the same client for the same address, who sent nothing else than GET in between; each by method, path and status.
    Behind one address may be many: a client is an address and a program."""

    def __init__(self) -> None:
        self._clients: dict[int, set[bytes]] = {}
        self._urls: dict[tuple[bytes, bytes, bytes], _Url] = {}
        self._changes: dict[bytes, int] = {}

    def add(self, request: Request, kind: int) -> int:
        """Count a request; return how many refusals it proves to stand between two good answers."""
        if request.status in REFUSALS and request.client:
            clients = self._clients.setdefault(kind, set())
            if len(clients) < MAX_CLIENTS:
                clients.add(request.client)
        if request.method not in _READS:
            if len(self._changes) < MAX_URLS or request.client in self._changes:
                self._changes[request.client] = self._changes.get(request.client, 0) + 1
            return 0
        return self._told(request)

    def clients(self, kind: int) -> int:
        return len(self._clients.get(kind, ()))

    def _told(self, request: Request) -> int:
        key, changes = asker(request), self._changes.get(request.client, 0)
        seen = self._urls.get(key)
        is_served = request.status[:1] == b"2"
        if not is_served and request.status not in TURNS:
            return 0
        if seen is None or seen.changes != changes or seen.time - request.time > SOON:
            if seen is not None or len(self._urls) < MAX_URLS:
                self._urls[key] = _Url(request.time, changes, is_served)
            return 0
        seen.time = request.time
        if not is_served:
            seen.pending += seen.is_served
            return 0
        proven, seen.pending, seen.is_served = seen.pending, 0, True
        return proven
