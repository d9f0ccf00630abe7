"""Clients of a site, in the network of the test hosts: python -m tests.hosts.load ADDRESS DOMAIN CLIENTS FILE [PAUSE].

Each sends one request after the other, each on a connection of its own: health checks and predictions in turn. With
PAUSE, in seconds, a prediction by one client or another comes that often, within the site's rate limit. A line a
request is appended to FILE: seconds since the epoch, method, status (0: no answer), seconds. Ends with SIGTERM.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from tests.hosts.layer import PREDICTION

CLIENT_SECONDS = 10.0


def ask(address: str, domain: str, method: str, patience: float = CLIENT_SECONDS) -> int:
    """The status of one request; 0 for none. ``patience``: seconds for the connection, and for the answer."""
    context = ssl._create_unverified_context()  # noqa: S323  the certificate is another test's
    try:
        with socket.create_connection((address, 443), patience) as plain:
            plain.settimeout(patience)
            connection = http.client.HTTPSConnection(domain, timeout=patience)
            connection.sock = context.wrap_socket(plain, server_hostname=domain)
            if method == "GET":
                connection.request("GET", "/health", headers={"Connection": "close"})
            else:
                headers = {"Content-Type": "application/json", "Connection": "close"}
                connection.request("POST", "/predict", PREDICTION.encode(), headers)
            response = connection.getresponse()
            response.read()
            return response.status
    except (OSError, http.client.HTTPException):
        return 0


def main(address: str, domain: str, clients: int, file: Path, pause: float) -> None:
    """Ask until the process is ended."""
    lock = threading.Lock()
    predicted = [0.0]

    def is_due(number: int) -> bool:
        """Whether this client's next request is a prediction."""
        if not pause:
            return number % 2 == 1
        with lock:
            if time.monotonic() < predicted[0] + pause:
                return False
            predicted[0] = time.monotonic()
            return True

    def client() -> None:
        number = 0
        while True:
            method = "POST" if is_due(number) else "GET"
            number += 1
            started = time.time()
            status = ask(address, domain, method)
            with lock, file.open("a") as out:
                out.write(f"{started:.3f} {method} {status} {time.time() - started:.3f}\n")
            time.sleep(0.02)

    for _ in range(clients):
        threading.Thread(target=client, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    pause_given = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), pause_given)
