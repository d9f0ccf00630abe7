"""How many predictions a client may ask for: a rate, and how many more at once.

The generic cell rate algorithm (ITU-T I.371), as nginx's ``limit_req`` with ``nodelay``: for each client the moment at
which it will have used nothing of its burst. What is refused for the rate or as overload, wherever, does not count.

A client is an accepted key, else an IP address (of IPv6 a network): that of the connection or, where this is a proxy of
ours, the one that the proxy adds to ``X-Forwarded-For``. Nothing else that a request says of itself names a client:
whoever may invent names has no limit. With ``GTE_FORWARDED_ALLOW_IPS=*`` every peer counts as a proxy of ours, and
whoever reaches the service without one may invent addresses.
"""

import math
import threading
import time
from collections.abc import Callable

# That are remembered; of more, those that have used the least of their burst are forgotten.
_MOST_CLIENTS = 16_384


class RateLimit:
    """The limit of one worker process. Thread-safe."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``rate``: requests a second of one client; ``burst``: requests above it that are taken at once."""
        self._interval, self._tolerance, self._clock = 1 / rate, burst / rate, clock
        self._even: dict[str, float] = {}  # when each client will have its whole burst again
        self._lock = threading.Lock()

    def take(self, client: str) -> int | None:
        """Count a request of ``client``. None: it is within the limit; else it is not counted, and seconds after which
        one would be."""
        with self._lock:
            now = self._clock()
            even = max(now, self._even.get(client, now))
            if even - now > self._tolerance:
                return math.ceil(even - now - self._tolerance)
            if client not in self._even and len(self._even) >= _MOST_CLIENTS:
                self._forget(now)
            self._even[client] = even + self._interval
            return None

    def give_back(self, client: str) -> None:
        """Count one request less of ``client``: what ``take`` has counted was refused for another reason."""
        with self._lock:
            even = self._even.get(client, 0.0) - self._interval
            if even > self._clock():
                self._even[client] = even
            else:
                self._even.pop(client, None)

    def excess(self, client: str) -> int | None:
        """As ``take``, but nothing is counted."""
        with self._lock:
            now = self._clock()
            left = self._even.get(client, now) - now - self._tolerance
            return math.ceil(left) if left > 0 else None

    def _forget(self, now: float) -> None:
        self._even = {client: even for client, even in self._even.items() if even > now}
        for client in sorted(self._even, key=self._even.__getitem__)[: len(self._even) - _MOST_CLIENTS // 2]:
            del self._even[client]
