"""A connection that never outlasts its deadline, however slowly the peer sends."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.interpret.address import split_address
from ops.text.sanitize import safe_line

T = TypeVar("T")

READ_SIZE = 16 * 1024
# The kernel repeats a lost SYN after one second, and again after three (RFC 6298, 2.1 and 5.5). Give up once the
# second SYN has had time to be answered.
CONNECT_SECONDS = 1.6
# A unix socket with a full backlog refuses a non-blocking connect; retry at this interval, in seconds.
BACKLOG_RETRY = 0.02

_FAILURES = {
    errno.ECONNREFUSED: ProbeFailure.REFUSED,
    errno.ETIMEDOUT: ProbeFailure.TIMEOUT,
    errno.ENETUNREACH: ProbeFailure.UNREACHABLE,
    errno.EHOSTUNREACH: ProbeFailure.UNREACHABLE,
    errno.ENETDOWN: ProbeFailure.UNREACHABLE,
    errno.EHOSTDOWN: ProbeFailure.UNREACHABLE,
    errno.EADDRNOTAVAIL: ProbeFailure.UNREACHABLE,
    errno.EAFNOSUPPORT: ProbeFailure.UNREACHABLE,
    errno.ENOENT: ProbeFailure.MISSING,
    errno.ENOTDIR: ProbeFailure.MISSING,
    errno.EACCES: ProbeFailure.PERMISSION,
    errno.EPERM: ProbeFailure.PERMISSION,
    errno.ECONNRESET: ProbeFailure.RESET,
    errno.EPIPE: ProbeFailure.RESET,
    errno.ECONNABORTED: ProbeFailure.RESET,
}


class OutOfTimeError(OSError):
    """The deadline passed or the wait was cut; the message names which."""


class AddressError(OSError):
    """An address that cannot be dialled as written."""


def failure_of(error: OSError) -> ProbeFailure:
    """Return the kind of an error while connecting, sending or receiving."""
    if isinstance(error, OutOfTimeError | TimeoutError):
        return ProbeFailure.TIMEOUT
    return _FAILURES.get(error.errno or 0, ProbeFailure.OTHER)


def reason_of(error: OSError) -> str:
    """Return the error in the system's words, on one line."""
    return safe_line((error.strerror or str(error) or type(error).__name__).lower())


class Deadline:
    """How long exchanges wait: until ``deadline`` (time.monotonic), or until `cut` is called.

    Every wait polls a pipe together with its socket, so that `cut` wakes all of them at once."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._lock = threading.Lock()
        self._why: str | None = None
        self._answered = 0
        self._woken, self._waker = os.pipe()
        weakref.finalize(self, _close_both, self._woken, self._waker)

    @property
    def is_cut(self) -> bool:
        """Whether `cut` was called."""
        return self._why is not None

    @property
    def answered(self) -> int:
        """The number of exchanges that have been answered."""
        return self._answered

    def count_answer(self) -> None:
        """Count one more answered exchange."""
        with self._lock:
            self._answered += 1

    def cut(self, reason: str) -> None:
        """End every current and later exchange as timed out. Only the first reason is kept."""
        with self._lock:
            if self._why is None:
                self._why = safe_line(reason)
                os.write(self._waker, b"x")

    def wait(self, sock: socket.socket | None, events: int, deadline: float) -> None:
        """Wait until ``sock`` is ready for poll's ``events``. Raises OutOfTimeError at the deadline or at a cut."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if sock is not None:
            poll.register(sock, events)
        ready = poll.poll(max(0.0, min(deadline, self.deadline) - time.monotonic()) * 1000)
        if self._why is not None:
            raise OutOfTimeError(f"wait ended early: {self._why}")
        if not ready:
            raise OutOfTimeError("deadline passed")


class ShorterDeadline(Deadline):
    """The deadline of ``whole``, but no later than ``deadline``; cutting one cuts the other."""

    def __init__(self, whole: Deadline, deadline: float) -> None:
        self.deadline = min(deadline, whole.deadline)
        self._whole = whole

    @property
    def is_cut(self) -> bool:
        """Whether ``whole`` was cut."""
        return self._whole.is_cut

    @property
    def answered(self) -> int:
        """The number of exchanges of ``whole`` that have been answered."""
        return self._whole.answered

    def count_answer(self) -> None:
        """Count one more answered exchange of ``whole``."""
        self._whole.count_answer()

    def cut(self, reason: str) -> None:
        """Cut ``whole``."""
        self._whole.cut(reason)

    def wait(self, sock: socket.socket | None, events: int, deadline: float) -> None:
        """Wait as ``whole`` does, until this deadline at the latest."""
        self._whole.wait(sock, events, min(deadline, self.deadline))


def _close_both(*descriptors: int) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


class DialledConnection:
    """One connection, plain or TLS, with the socket methods that http.client calls: sendall, makefile, close.

    At most ``limit`` bytes are ever read: after them the stream looks ended and ``is_cut_off`` is true.
    ``deadline`` may be changed while the connection is in use."""

    def __init__(self, sock: socket.socket, patience: Deadline, limit: int) -> None:
        self._sock = sock
        self._patience = patience
        self._left = limit
        self.deadline = patience.deadline
        self.received = 0
        self.is_ended = False
        self.is_cut_off = False

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS socket after `start_tls`, None on a plain connection."""
        return self._sock if isinstance(self._sock, ssl.SSLSocket) else None

    def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> None:
        """Perform the TLS handshake. Raises ssl.SSLError, OSError, OutOfTimeError; ValueError for an invalid name."""
        # Pass bytes: for a string Python loads the IDNA tables, although the name is ASCII (`sni`).
        name = server_name.encode("ascii") if server_name else None
        wrapped = context.wrap_socket(self._sock, server_hostname=name, do_handshake_on_connect=False)
        self._sock = wrapped
        self._persist(wrapped.do_handshake, select.POLLIN)

    def sendall(self, data: bytes) -> None:
        """Send everything. Raises OSError, OutOfTimeError."""
        view = memoryview(data)
        while view:
            count = self._persist(lambda piece=view: self._sock.send(piece), select.POLLOUT)  # type: ignore[misc]
            view = view[count:]

    def receive(self, size: int) -> bytes:
        """Receive up to ``size`` bytes, none at the end. Raises OSError, OutOfTimeError."""
        limit = min(size, self._left, READ_SIZE)
        if limit <= 0:
            self.is_cut_off = True
            return b""
        piece = self._persist(lambda: self._sock.recv(limit), select.POLLIN)
        self._left -= len(piece)
        self.received += len(piece)
        self.is_ended = self.is_ended or not piece
        return piece

    def makefile(self, _mode: str = "rb", *_: object) -> io.BufferedReader:
        """Return the stream to read from."""
        return io.BufferedReader(_Stream(self), READ_SIZE)

    def close(self) -> None:
        """Drop the connection."""
        self._sock.close()

    def _persist(self, operation: Callable[[], T], events: int) -> T:
        while True:
            # Check before each try: if the peer always has one more byte, the wait below never checks the clock.
            if time.monotonic() >= self.deadline or self._patience.is_cut:
                self._patience.wait(None, 0, self.deadline)
            try:
                return operation()
            except ssl.SSLWantReadError:
                awaited_events = select.POLLIN
            except ssl.SSLWantWriteError:
                awaited_events = select.POLLOUT
            except BlockingIOError:
                awaited_events = events
            self._patience.wait(self._sock, awaited_events, self.deadline)


class _Stream(io.RawIOBase):
    def __init__(self, wire: DialledConnection) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._wire.receive(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def dial(address: str, patience: Deadline, limit: int, deadline: float | None = None) -> DialledConnection:
    """Connect to ``ip:port``, ``[v6]:port`` or ``unix:/path``; try a host name address by address.

    Raises OSError (see `failure_of`), OutOfTimeError, AddressError."""
    until = min(time.monotonic() + CONNECT_SECONDS, patience.deadline)
    if deadline is not None:
        until = min(deadline, until)
    failed: OSError = AddressError(f"{address!r} is not ip:port or unix:/path")
    for family, place in _places(address, until):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _connect(sock, place, patience, until)
            return DialledConnection(sock, patience, limit)
        except OSError as error:
            sock.close()
            failed = error
            if isinstance(error, OutOfTimeError):
                break
        except BaseException:
            sock.close()
            raise
    raise failed


def proxy_line(address: str) -> bytes:
    """Return the line a balancer sends first (haproxy, PROXY protocol version 1), with this machine as the source."""
    host, port = split_address(address)
    kind, own = ("TCP6", "::1") if ":" in host else ("TCP4", "127.0.0.1")
    return f"PROXY {kind} {own} {host.partition('%')[0] or own} 65535 {port}\r\n".encode()


def _connect(sock: socket.socket, place: tuple[str, int] | str, patience: Deadline, until: float) -> None:
    code = _start_connect(sock, place)
    while code == errno.EAGAIN:
        # AF_UNIX with a full backlog: poll cannot wait for room.
        with contextlib.suppress(OutOfTimeError):
            patience.wait(None, 0, time.monotonic() + BACKLOG_RETRY)
        if patience.is_cut or time.monotonic() >= until:
            patience.wait(None, 0, until)
        code = _start_connect(sock, place)
    if code == errno.EINPROGRESS:
        patience.wait(sock, select.POLLOUT, until)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _start_connect(sock: socket.socket, place: tuple[str, int] | str) -> int:
    try:
        return sock.connect_ex(place)
    except (UnicodeError, ValueError, OverflowError) as error:
        raise AddressError(f"{place!r}: {error}") from None


def _places(address: str, until: float) -> list[tuple[socket.AddressFamily, tuple[str, int] | str]]:
    if address.startswith("unix:"):
        return [(socket.AF_UNIX, address.removeprefix("unix:"))]
    host, port = split_address(address)
    if not 0 < port < 65536:
        raise AddressError(f"{address!r} names no port")
    literal = _family(host)
    if literal is not None:
        return [(literal, (host, port))]
    from ops.collect.net.dns import resolve

    resolution = resolve(host, None, until)
    if isinstance(resolution, NotSeen):
        raise OutOfTimeError(f"{host}: {resolution.reason}")
    if resolution.failure is not None:
        raise AddressError(f"{host} does not resolve: {resolution.detail or resolution.failure}")
    return [(family, (ip, port)) for ip in resolution.addresses if (family := _family(ip)) is not None]


def _family(host: str) -> socket.AddressFamily | None:
    # An IPv6 literal may carry a zone (fe80::1%eth0), which inet_pton does not accept.
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return family
    return None
