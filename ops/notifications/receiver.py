"""A receiver of Alertmanager's webhooks on loopback: each alert becomes a message of the outbox.

Alertmanager speaks neither to DingTalk nor to Feishu nor WeCom; it posts JSON here, and the outbox delivers it under
the rules of every message of gte-ops: once for each trouble, retried, and with the bot's own answer believed.
"""

from __future__ import annotations

import hmac
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from ops.notifications.alertmanager import MAX_BODY_BYTES, WebhookError, messages, read_notification
from ops.notifications.delivery_result import DeliveryOutcome
from ops.notifications.ledger import QueueOutcome
from ops.notifications.outbox import Delivery, Outbox
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line

# Requests served at once; Alertmanager needs one. More are closed unread.
MAX_CONNECTIONS = 16
# The whole of a request, from its first byte to the answer.
REQUEST_SECONDS = 10.0
# How long one series of deliveries may take, and how often those are looked for that are to be tried again.
DELIVERY_SECONDS = 30.0
RETRY_SECONDS = 5.0
_QUEUED = (QueueOutcome.QUEUED, QueueOutcome.HELD_BACK)


class Receiver:
    """Serves ``address`` until `stop`. ``token``: what a client must bear (RFC 6750), empty for any client.
    ``report`` is given each line for the operator's log.

    Raises OSError if the address cannot be taken."""

    def __init__(
        self, address: tuple[str, int], outbox: Outbox, *, token: str = "", report: Callable[[Text], None]
    ) -> None:
        self._outbox, self._token, self._report = outbox, token, report
        self._stopping = threading.Event()
        self._work = threading.Event()
        self._server = _Server(address, self)
        self.port = int(self._server.server_address[1])

    def serve(self) -> None:
        """Serve until `stop`; then try once more to deliver what is due."""
        deliverer = threading.Thread(target=self._deliver, name="deliver", daemon=True)
        deliverer.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._stopping.set()
            self._work.set()
            self._server.server_close()
            deliverer.join(DELIVERY_SECONDS)

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.shutdown()

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this Authorization header may post."""
        expected = f"Bearer {self._token}".encode()
        return not self._token or hmac.compare_digest(
            (authorization or "").encode("utf-8", "replace"), expected
        )

    def accept(self, body: bytes) -> int:
        """Queue the alerts of one request; returns how many messages that made. Raises WebhookError."""
        now = time.time()
        outcomes = [self._outbox.add(message, now) for message in messages(read_notification(body), now)]
        self._work.set()
        return sum(outcome in _QUEUED for outcome in outcomes)

    def _deliver(self) -> None:
        while True:
            self._work.wait(RETRY_SECONDS)
            self._work.clear()
            is_last = self._stopping.is_set()
            now = time.time()
            try:
                for delivery in self._outbox.deliver(now, now + DELIVERY_SECONDS):
                    self._tell(delivery)
            except Exception as error:  # noqa: BLE001  the next round is tried all the same
                self._report(verbatim(safe_line(f"{type(error).__name__}: {error}")))
            for problem in self._outbox.problems():
                self._report(problem)
            if is_last:
                return

    def _tell(self, delivery: Delivery) -> None:
        if delivery.outcome != DeliveryOutcome.ACCEPTED:
            where = f"notify.urls[{delivery.index}] {delivery.destination}: {delivery.outcome}"
            self._report(Text(en=f"{where}: {delivery.reason.en}", zh=f"{where}：{delivery.reason.zh}"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except Exception:  # no thread can be started
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A client that sends a byte now and then must not hold its place for ever.
        timer = threading.Timer(REQUEST_SECONDS, self.shutdown_request, (request,))
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        except RuntimeError:  # no thread for the timer
            self.shutdown_request(request)
        finally:
            timer.cancel()
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS
    server_version = "gte-ops"
    sys_version = ""

    def log_message(self, *_: Any) -> None:
        """Request lines are the client's words, and not written anywhere."""

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        # Without the request line, which http.server's own page repeats.
        self._answer(HTTPStatus(code), HTTPStatus(code).phrase)

    def do_POST(self) -> None:
        receiver = self.server.receiver
        if not receiver.admits(self.headers.get("Authorization")):
            self._answer(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or not length.isascii():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length is required")
            return
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes")
            return
        try:
            queued = receiver.accept(self.rfile.read(int(length)))
        except WebhookError as error:
            self._answer(HTTPStatus.BAD_REQUEST, safe_line(str(error)))
        else:
            self._answer(HTTPStatus.OK, None, queued)

    def _answer(self, status: HTTPStatus, error: str | None, queued: int = 0) -> None:
        body = msgspec.json.encode({"error": error} if error else {"queued": queued})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
