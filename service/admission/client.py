"""Who asks: the client of this thread's request, by which work is shared out fairly.

Whoever accepts a request says so (``asking``); queues further down ask for it (``current``).
"""

import functools
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_IPV6_NETWORK = 64  # bits: what one customer gets (RFC 6177, 2), who may use any address in it


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Client:
    """Who asks (``key:NAME`` or ``address:ADDRESS``), and whether it has left."""

    name: str
    is_gone: Callable[[], bool] = _never


_NOBODY = Client("")
_client: ContextVar[Client] = ContextVar("client", default=_NOBODY)


@contextmanager
def asking(client: Client) -> Iterator[None]:
    """In this block, in this thread, ``client`` asks."""
    token = _client.set(client)
    try:
        yield
    finally:
        _client.reset(token)


def current() -> Client:
    """Who asks in this thread."""
    return _client.get()


@functools.lru_cache(4096)
def of_address(address: str) -> str:
    """The name of whoever asks from ``address``; of IPv6, from its network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address}"
    if parsed.version == 6:
        parsed = parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False)[0]
    return f"address:{parsed}"
