"""A client that sends at a fixed rate whatever comes back, one JSON line of results at the end.

    python -m benchmarks.open_loop PORT RATE SECONDS FILE [ADDRESSES]

FILE has one body of POST /predict a line, sent in turn. A request goes out on a kept connection that is free, else on a
new one; ADDRESSES (default 1): the addresses 127.0.0.N that requests come from, in turn. ``served`` counts 200 within
10 s.
"""

import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 10.0  # seconds for an answer
_MOST_CONNECTIONS = 600


@dataclass(eq=False)
class _Link:
    sock: socket.socket
    address: int
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def run(port: int, rate: float, seconds: float, bodies: list[bytes], addresses: int) -> dict[str, float]:
    """What came of it; times in seconds."""
    head = (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    requests = [head % len(body) + body for body in bodies]
    selector = selectors.DefaultSelector()
    free: list[deque[_Link]] = [deque() for _ in range(addresses)]
    busy: set[_Link] = set()
    served: list[float] = []
    refused: list[float] = []
    lost = sent = 0
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds or (busy and now < began + seconds + PATIENCE):
        while sent < (now - began) * rate and now < began + seconds:
            address, request = sent % addresses, requests[sent % len(requests)]
            sent += 1
            if len(busy) >= _MOST_CONNECTIONS:
                lost += 1
                continue
            try:
                if free[address]:
                    link = free[address].popleft()
                else:
                    link = _Link(
                        socket.create_connection(("127.0.0.1", port), 5, (f"127.0.0.{address + 1}", 0)),
                        address,
                    )
                    selector.register(link.sock, selectors.EVENT_READ, link)
                link.sent, link.received = now, bytearray()
                link.sock.sendall(request)
            except OSError:
                lost += 1
                continue
            busy.add(link)
        for key, _ in selector.select(max(0.0, min(0.01, began + sent / rate - time.perf_counter()))):
            link = key.data
            try:
                part = link.sock.recv(65536)
            except OSError:
                part = b""
            link.received += part
            ended = _is_whole(link.received)
            if part and not ended:
                continue
            took = time.perf_counter() - link.sent
            if link in busy:
                busy.discard(link)
                status = bytes(link.received[9:12])
                if status == b"200" and took <= PATIENCE:
                    served.append(took)
                elif status == b"503":
                    refused.append(took)
                else:
                    lost += 1
            if part and b"\r\nconnection: close" not in bytes(link.received[:600]).lower():
                free[link.address].append(link)
            else:
                selector.unregister(link.sock)
                link.sock.close()
    return {
        "sent": sent,
        "served": len(served),
        "refused": len(refused),
        "lost": lost + len(busy),
        "goodput": len(served) / seconds,
        "served_p50": percentile(served, 50),
        "served_p99": percentile(served, 99),
        "refused_p50": percentile(refused, 50),
        "refused_p99": percentile(refused, 99),
    }


def percentile(values: list[float], percent: float) -> float:
    """Of no values: 0."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def _is_whole(received: bytearray) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return False


def main() -> None:
    """The command."""
    port, rate, seconds, file, *more = sys.argv[1:]
    bodies = Path(file).read_bytes().splitlines()
    print(json.dumps(run(int(port), float(rate), float(seconds), bodies, int(more[0]) if more else 1)))


if __name__ == "__main__":
    main()
