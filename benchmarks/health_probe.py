"""``/health`` every 20 ms until the standard input ends; then one JSON line with the seconds that each answer took.

    python -m benchmarks.health_probe PORT

In a process of its own: beside threads that send requests, it would measure how long it waits for them. Each on a new
connection, as a monitor's; one that is not answered within 120 s counts 120.
"""

import json
import select
import socket
import sys
import time

_EVERY = 0.02  # seconds
_LONGEST = 120.0
_REQUEST = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def seconds_of_one(port: int) -> float:
    """Seconds until the answer has arrived whole."""
    began = time.perf_counter()
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), _LONGEST) as link:
            link.sendall(_REQUEST)
            while part := link.recv(65536):
                received += part
                if b'"ok"' in received:
                    break
    except OSError:
        pass
    return time.perf_counter() - began if received.startswith(b"HTTP/1.1 200 ") else _LONGEST


def main() -> None:
    """The command."""
    seconds = []
    while not select.select([sys.stdin], [], [], _EVERY)[0]:
        seconds.append(seconds_of_one(int(sys.argv[1])))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
