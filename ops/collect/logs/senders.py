"""Count the addresses from which requests came to nginx, and who is behind each according to the requests."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from ops.collect.logs.line import Request
from ops.facts.traffic import Sender
from ops.interpret.agent_kind import agent_kind, is_monitor
from ops.text.sanitize import safe_line

MAX_SENDERS = 16
# Different values that are kept of each sender.
MAX_KINDS = 8
MAX_VISITORS = 64
# Paths that monitoring asks for, by convention, in any directory.
_MONITORING = re.compile(
    rb"(?:/[^?]*)?/(?:health|healthz|ready|readyz|live|livez|ping|metrics|status|nginx_status|stub_status)/?(?:\?|$)"
)
_FORWARDED_FOR = re.compile(rb"for=\"?\[?([0-9a-fA-F.:]+)", re.IGNORECASE)


class _Count(msgspec.Struct):
    requests: int = 0
    kinds: set[str] = msgspec.field(default_factory=set)
    visitors: set[bytes] = msgspec.field(default_factory=set)


class SenderCount:
    """Counts of one log's requests by the address that nginx logged."""

    def __init__(self) -> None:
        self._counts: dict[bytes, _Count] = {}
        self._omitted = 0

    def add(self, request: Request) -> None:
        """Count a request that was answered, or refused by a limit; not one of monitoring, nor a scanner's."""
        refused = request.status < b"200" or b"300" <= request.status < b"500"
        if len(request.client) < 2 or (refused and request.status != b"429"):
            return
        agent = request.agent[:400].decode("utf-8", "replace")
        if _MONITORING.match(request.path) or is_monitor(agent):
            return
        count = self._counts.get(request.client)
        if count is None:
            if len(self._counts) >= MAX_SENDERS:
                self._omitted += 1
                return
            count = self._counts[request.client] = _Count()
        count.requests += 1
        if len(count.kinds) < MAX_KINDS and (kind := agent_kind(agent)):
            count.kinds.add(kind)
        if len(count.visitors) < MAX_VISITORS and (visitor := _visitor(request.forwarded)):
            count.visitors.add(visitor)

    def senders(self) -> tuple[tuple[Sender, ...], int]:
        """Return the senders, the most frequent first, and the number of requests of further ones."""
        ranked = sorted(self._counts.items(), key=lambda item: -item[1].requests)
        return tuple(
            Sender(
                address=safe_line(client.decode("utf-8", "replace"), 60),
                requests=count.requests,
                agents=tuple(safe_line(kind, 40) for kind in sorted(count.kinds)),
                visitors=len(count.visitors),
            )
            for client, count in ranked
        ), self._omitted


def _visitor(forwarded: bytes) -> bytes:
    """The first address of X-Forwarded-For (``a, b``) or Forwarded (``for=a;proto=https``); empty if there is none."""
    named = _FORWARDED_FOR.match(forwarded)
    word = named[1] if named else forwarded.partition(b",")[0].strip()
    try:
        ipaddress.ip_address(word.decode("ascii", "replace"))
    except ValueError:
        return b""
    return word
