"""Changes to behaviours of gunicorn's master and workers for which gunicorn has no setting.

Each replaces one function, and does nothing if a version of gunicorn lacks it. ``tests/system/test_service_api.py``
tests them, and the master's ``tests/system/test_handover.py``.
"""

import contextlib
import json
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore
from types import MethodType
from typing import Any

from gunicorn import util  # type: ignore[import-untyped,unused-ignore]

from service.http import access_log, socket_calls
from service.http.arrival import Arrival
from service.http.problems import PROBLEM_JSON, from_http_status
from service.http.request_id import HEADER, choose

# Connections that may linger at once; further ones are closed without waiting for the client.
_MOST_LINGERING = 64
# Seconds in which a request has to arrive, from its first byte on, and in which a client has to take a part of its
# answer: 1 MiB in 30 s is 280 kbit/s. nginx sends a request only once it has all of it.
_PATIENCE = 30
_MOST_WAITING_BYTES = 64 * 2**20  # of all requests that have not arrived whole
# Connections that are accepted before those that are open are looked at again; fewer where several workers share them.
_ACCEPTED_AT_ONCE = 128
_ACCEPTED_AMONG_WORKERS = 16
_SCAN = 0.5  # seconds between two searches for connections whose time is over
_LINGER = 2.0  # seconds that a stopping worker leaves to a client that has sent nothing yet
_PAUSE = 0.003  # seconds between two passes of the main loop that refuse
_LINES_WAIT = 0.05  # seconds after which lines of the access log are written even then
_BEAT = 0.1  # seconds between two heartbeats of the main loop
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer_parse_errors_in_json() -> None:
    """Answer requests that gunicorn cannot parse, which never reach the application, in JSON instead of HTML."""
    if hasattr(util, "write_error"):
        util.write_error = _write_problem


def open_control_socket_after_handover(server: Any) -> None:
    """Have a master that takes over (USR2) open its control socket once its predecessor has ended.

    That one removes the socket's file as it ends, whoever made it. Call this in ``on_starting``, with the control
    socket disabled until then.
    """
    promote = getattr(server, "maybe_promote_master", None)
    start = getattr(server, "_start_control_server", None)
    if promote is None or start is None or not getattr(server, "master_pid", 0):
        return

    def promote_and_open() -> None:
        promote()
        if not server.master_pid:
            server.maybe_promote_master = promote
            server.cfg.set("control_socket_disable", False)
            start()

    # gunicorn calls it once a second in its main loop.
    server.maybe_promote_master = promote_and_open


def linger_aside() -> None:
    """Let closing connections linger in threads of their own.

    Gunicorn 27 waits up to 2 s for the client to close its end too, so that the last bytes are not lost. With gthread
    it waits in the worker's main loop, which accepts nothing meanwhile: one client that asks for ``Connection:
    close`` and keeps its socket open delays all others, ``/health`` included.
    """
    wait_and_close = getattr(util, "close_graceful", None)
    if wait_and_close is None:
        return
    places = BoundedSemaphore(_MOST_LINGERING)
    lingering = ThreadPoolExecutor(max_workers=_MOST_LINGERING, thread_name_prefix="linger")

    def close_aside(sock: Any) -> None:
        if not places.acquire(blocking=False):
            util.close(sock)
            return
        try:
            lingering.submit(wait_and_close, sock).add_done_callback(lambda _done: places.release())
        except RuntimeError:  # the interpreter is shutting down
            places.release()
            util.close(sock)

    util.close_graceful = close_aside


class LogReopening:
    """Reopens the logs on USR1: one at a time, and not while the main loop writes to one.

    The handler of a signal interrupts whatever the main loop does. With ``capture_output`` gunicorn reopens the error
    log under a lock that its own thread cannot take twice: two signals that arrive together (two rotations while the
    master was busy) block the main loop for ever. And a file that is closed while it is being flushed is an error that
    ends the worker.
    """

    def __init__(self, reopen: Callable[[int, Any], None]) -> None:
        """``reopen``: gunicorn's own handler."""
        self._reopen = reopen
        self._is_pending = self._is_busy = False

    def handle(self, signum: int, frame: Any) -> None:
        """The handler of USR1."""
        self._is_pending = True
        while self._is_pending and not self._is_busy:
            self._is_busy, self._is_pending = True, False
            try:
                self._reopen(signum, frame)
            finally:
                self._is_busy = False

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """In this block, in the main thread, nothing is reopened; what was asked for meanwhile, after it."""
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False
            if self._is_pending:
                self.handle(signal.SIGUSR1, None)


def reopen_logs_one_at_a_time(worker: Any) -> None:
    """See ``LogReopening``. Call this in ``post_fork``, which comes before ``worker.init_signals``."""
    reopen = getattr(worker, "handle_usr1", None)
    if reopen is not None:
        worker.log_reopening = LogReopening(reopen)
        worker.handle_usr1 = worker.log_reopening.handle


def receive_aside(worker: Any, most: int, record: Any) -> None:
    """Let requests arrive in the worker's main loop, and give a thread only to one that has arrived whole.

    Gunicorn's gthread reads a request in one of its threads, which wait as long as the client takes: sixty connections
    that send half a request, or two hundred that send nothing, hold every thread, and ``/health`` waits with all
    others. Here they hold a few kilobytes. A request that does not arrive within 30 s is answered 408, and a connection
    that sends nothing is closed like one kept alive. When there are too many connections, the longest idle are closed.

    ``most``: bytes of the largest body that is waited for. ``record``: the worker's progress record, in which a request
    stands from when it gets its thread; gunicorn's own hook comes only after the wait for a turn. The application may
    have a ``door`` (``service/api/entrance.py``): what it answers costs no thread either. Connections over TLS or
    HTTP/2 are gunicorn's own, as before.
    """
    is_gthread = getattr(worker, "pending_conns", None) is not None
    if not is_gthread or worker.cfg.is_ssl or getattr(worker.cfg, "http2_cleartext", "off") != "off":
        return
    _Reception(worker, most, record).take_over()


class _Reception:
    """The connections of a gthread worker that have not sent a whole request. All but ``_handle`` in its main loop."""

    def __init__(self, worker: Any, most: int, record: Any) -> None:
        self._worker = worker
        self._record = record
        self._most = most
        self._keepalive = worker.cfg.keepalive
        self._bytes = 0
        self._next_scan = self._next_beat = 0.0
        self._stopped: float | None = None
        # The longest idle first.
        self._waiting: dict[Any, None] = {}
        self._lines = access_log.Lines(worker.log)
        self._refused = 0  # in this pass

    def take_over(self) -> None:
        worker = self._worker
        self._handle_whole, self._finish = worker.handle, worker.finish_request
        self._beat = worker.notify
        worker.notify = self._notify
        self._dispatch = worker.wait_for_and_dispatch_events
        worker.wait_for_and_dispatch_events = self._pass
        worker.accept = self._accepted
        worker.murder_pending = self._close_overdue
        worker.handle = self._handle
        worker.finish_request = self._finished

    def _notify(self) -> None:
        # Once a pass, it cost each of them a call to the kernel.
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + _BEAT
            self._beat()

    def _pass(self, timeout: float) -> None:
        self._refused = 0
        try:
            self._dispatch(min(timeout, _LINES_WAIT) if self._lines else timeout)
            # Not while it dispatches: who seems to be the longest idle may have sent its next request, unread as yet.
            self._make_room()
        finally:
            is_overload = self._refused > 1
            if self._lines and (not is_overload or self._lines.age > _LINES_WAIT):
                reopening = getattr(self._worker, "log_reopening", None)
                with reopening.held_off() if reopening else contextlib.nullcontext():
                    self._lines.write()
        if is_overload:
            # Under overload many in a pass cost less than one: each pass asks for the interpreter lock several times.
            time.sleep(_PAUSE)

    def _accepted(self, listener: Any) -> None:
        # Gunicorn takes one connection each time it looks at all others: under load they wait for seconds.
        is_alone = self._worker.cfg.workers == 1
        for _ in range(_ACCEPTED_AT_ONCE if is_alone else _ACCEPTED_AMONG_WORKERS):
            try:
                sock, address = listener.accept()
            except OSError:
                return  # no more, or gone already, or another worker has it
            self._take(sock, address, listener.getsockname())

    def _take(self, sock: Any, address: Any, server: Any) -> None:
        from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped,unused-ignore]

        self._worker.nr_conns += 1
        # In the kernel, because gunicorn makes its sockets blocking again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
        conn = TConn(self._worker.cfg, sock, address, server)
        conn.is_polled = False
        self._wait(conn)
        self._read(conn, sock)

    def _finished(self, conn: Any, future: Any) -> None:
        if future.cancelled() or future.exception() is not None or future.result() is not True:
            self._finish(conn, future)
            return
        # The next request, or a part of it, may have come in one piece with the one before.
        rest = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        conn.is_polled = False
        self._wait(conn)
        if rest:
            self._receive(conn, rest)
        else:
            self._poll(conn)

    def _wait(self, conn: Any) -> None:
        conn.arrival, conn.entered = Arrival(self._most), contextlib.nullcontext()
        conn.timeout = time.monotonic() + self._keepalive
        self._waiting[conn] = None

    def _read(self, conn: Any, sock: Any) -> None:
        if conn not in self._waiting:
            return  # closed or handed on since the poller saw its data
        try:
            data = socket_calls.receive(sock)
        except (BlockingIOError, InterruptedError):
            self._poll(conn)
            return
        except OSError:
            data = b""
        if data:
            self._receive(conn, data)
        else:
            self._drop(conn)

    def _receive(self, conn: Any, data: bytes) -> None:
        arrival = conn.arrival
        try:
            if not arrival.data:
                conn.timeout = time.monotonic() + _PATIENCE
            held = len(arrival.data)
            is_whole = arrival.add(data)
            # Not all of ``data``: an expectation is taken out of it.
            self._bytes += len(arrival.data) - held
            if is_whole:
                self._arrived(conn)
            else:
                self._go_on(conn)
        except Exception:
            # The main loop must go on for all other connections.
            self._worker.log.exception("a request could not be received")
            if conn in self._waiting:
                self._drop(conn)

    def _go_on(self, conn: Any) -> None:
        if conn.arrival.wants_continue:
            conn.arrival.wants_continue = False
            self._send(conn, _CONTINUE)
        self._poll(conn)

    def _poll(self, conn: Any) -> None:
        # Most requests arrive in one piece, and each call of the poller gives the interpreter lock away.
        if conn.is_polled is not self:
            call = self._worker.poller.modify if conn.is_polled else self._worker.poller.register
            call(conn.sock, selectors.EVENT_READ, partial(self._read, conn))
            conn.is_polled = self

    def _arrived(self, conn: Any) -> None:
        arrival, door = conn.arrival, getattr(self._worker.wsgi, "door", None)
        if arrival.refusal is not None:
            self._refuse(conn, arrival.refusal, door)
            return
        if door is not None and arrival.head.raw:
            conn.entered, answer = door(arrival.head, conn.client, conn.sock, is_followed=arrival.is_followed)
            if answer is not None:
                self._answer(conn, answer)
                return
        self._release(conn)
        conn.data_ready = True
        self._worker.enqueue_req(conn)

    def _refuse(self, conn: Any, status: HTTPStatus, door: Any) -> None:
        if door is not None:
            self._answer(conn, door.refuse(status, conn.arrival.head, conn.client, conn.arrival.why))
            return
        with contextlib.suppress(OSError):
            util.write_error(conn.sock, status.value, status.phrase, "")
        self._drop(conn, graceful=True)

    def _answer(self, conn: Any, ready: Any) -> None:
        began = time.monotonic()
        arrival, worker = conn.arrival, self._worker
        is_last = arrival.is_last or not worker.alive or not self._keepalive
        sent = self._send(conn, ready.encoded("close" if is_last else "keep-alive"))
        now = time.monotonic()
        self._lines.add(ready, now - began)
        if ready.status[:3] == "503":
            self._refused += 1
        if is_last or not sent:
            # Where all that came was read, the kernel needs nobody's help to deliver the answer.
            self._drop(conn, graceful=arrival.refusal is not None or arrival.is_followed)
            return
        self._bytes -= len(arrival.data)
        conn.arrival = Arrival(self._most)
        conn.timeout = now + self._keepalive
        # It was just used, so it is the last of the idle.
        del self._waiting[conn]
        self._waiting[conn] = None
        if conn.is_polled is not self:
            self._poll(conn)

    def _send(self, conn: Any, data: bytes) -> bool:
        try:
            return socket_calls.send(conn.sock, data) == len(data)
        except OSError:
            return False

    def _release(self, conn: Any) -> None:
        if conn.is_polled:
            self._worker.poller.unregister(conn.sock)
        del self._waiting[conn]
        self._bytes -= len(conn.arrival.data)

    def _drop(self, conn: Any, *, graceful: bool = False) -> None:
        self._release(conn)
        self._worker.nr_conns -= 1
        conn.close(graceful=graceful)

    def _close_overdue(self) -> None:
        now = time.monotonic()
        if now < self._next_scan:
            return
        self._next_scan = now + _SCAN
        if not self._worker.alive:
            self._stopped = self._stopped or now
        for conn in list(self._waiting):
            is_silent = not conn.arrival.data
            if conn.timeout <= now or (is_silent and self._stopped and now - self._stopped > _LINGER):
                if not is_silent:
                    with contextlib.suppress(OSError):
                        util.write_error(conn.sock, 408, "Request Timeout", "")
                self._drop(conn, graceful=not is_silent)

    def _make_room(self) -> None:
        worker = self._worker
        while worker.nr_conns >= worker.worker_connections and self._waiting:
            self._drop(next(iter(self._waiting)))
        if self._bytes > _MOST_WAITING_BYTES:
            for conn in [one for one in self._waiting if one.arrival.data]:
                self._drop(conn)
                if self._bytes <= _MOST_WAITING_BYTES:
                    break

    def _handle(self, conn: Any) -> Any:
        """In a thread: the request holds what it got at the door."""
        self._record.begin(id(conn), conn.arrival.head.path)
        try:
            with conn.entered as place:
                conn.init()
                unreader = conn.parser.unreader
                unreader.unread(bytes(conn.arrival.data))
                unreader.chunk = MethodType(_chunk_in_time, unreader)
                unreader.place = place
                unreader.ends = time.monotonic() + _PATIENCE
                conn.arrival = None
                return self._handle_whole(conn)
        finally:
            self._record.end(id(conn))


def is_recorded(req: Any) -> bool:
    """Whether this request of gunicorn's came by ``receive_aside``, and stands in the record already."""
    # A request over HTTP/2 has no unreader.
    return hasattr(getattr(req, "unreader", None), "place")


def _chunk_in_time(unreader: Any, size_hint: int | None = None) -> bytes:
    """gunicorn's ``SocketUnreader.chunk``, but not for longer than the request has to arrive: its parser may take for
    unfinished what has arrived whole."""
    if unreader.place is not None:
        unreader.place.end_turn()
    left = unreader.ends - time.monotonic()
    if left <= 0:
        raise ConnectionResetError("the request did not arrive in time")
    unreader.sock.settimeout(left)
    try:
        data: bytes = type(unreader).chunk(unreader, size_hint)
    except TimeoutError:
        raise ConnectionResetError("the request did not arrive in time") from None
    finally:
        unreader.sock.settimeout(None)
    return data


def _write_problem(sock: Any, status_int: int, reason: str, _mesg: str) -> None:
    # gunicorn's own message may quote the request; the reason is enough.
    request_id = choose(None)
    body = json.dumps(from_http_status(status_int, reason).details(request_id)).encode()
    head = (
        f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: {PROBLEM_JSON}\r\n"
        f"{HEADER}: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
