"""What the system's resolver says of the host names that nginx sends requests to: /etc/hosts, then DNS."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

MAX_NAMES = 32
SECONDS = 2.0


def host_names(names: Iterable[str], seconds: float = SECONDS) -> dict[str, tuple[str, ...]]:
    """The addresses of each of ``names``, in the resolver's order; a name without any, or without an answer within
    ``seconds``, is left out."""
    found: dict[str, tuple[str, ...]] = {}
    threads = [
        threading.Thread(target=_resolve, args=(name, found), daemon=True) for name in list(names)[:MAX_NAMES]
    ]
    give_up = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return dict(found)


def _resolve(name: str, found: dict[str, tuple[str, ...]]) -> None:
    try:
        # As ngx_inet_resolve_host asks.
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError):
        return
    found[name] = tuple(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in entries))
