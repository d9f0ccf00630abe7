"""Run the network probes in an unprivileged process, so that root never parses what peers send.

The watchdog's doctor runs as root while something is wrong, and any process may answer at the service's addresses. The
child is forked before the first thread, imports what it needs, becomes a user that owns nothing, and returns plain
facts, which the parent decodes as such. The parent still dials unix sockets itself: the socket's mode decides which
users may connect, and its peer is the service."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import os
import signal
import socket
import stat
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from ops.collect.net.connection import Deadline
from ops.collect.net.probes import RESULTS, ProbeRequest, Probes, probe
from ops.facts.base import NotSeen
from ops.files.nofollow import path_entries
from ops.files.unprivileged import UnprivilegedAccount, drop_privileges
from ops.text.sanitize import safe_line

_LENGTH = struct.Struct(">I")
# Modules that the probes would otherwise import at the first name, answer or secret. Import them before the fork: the
# child may be unable to read Python and this package (a virtual environment below /root).
_MODULES = (
    "cryptography.hazmat.backends.openssl.backend",
    "ops.collect.net.dns",
    "ops.collect.net.host_names",
    "ops.collect.net.service_probes",
    "ops.collect.net.tls",
    "ops.text.secret_scan.command_lines",
    "ops.text.secret_scan.html",
    "ops.text.secret_scan.names_in_text",
    "ops.text.secret_scan.scan",
    "ops.text.secret_scan.values",
)
# Each is a module, too: the codecs of names (`ssl` and `socket` look them up), and those of pages that servers send.
_CHARSETS = (
    "idna",
    "punycode",
    "ascii",
    "utf-8",
    "iso-8859-1",
    "windows-1252",
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
)
# Each answer in a snapshot is about ten kilobytes.
MAX_MESSAGE_BYTES = 8 << 20


class _Reply(msgspec.Struct):
    """The result of a request as JSON; number 0 carries the count of exchanges answered so far."""

    number: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    answered: int = 0


class Prober(Probes):
    """The parent's handle of the child."""

    def __init__(self, account: UnprivilegedAccount, deadline: float) -> None:
        """Fork the child: call this before any thread is started. ``deadline``: of all exchanges (time.monotonic)."""
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._waiting: dict[int, threading.Event] = {}
        self._results: dict[int, bytes] = {}
        self._number = 0
        self.patience: _FarPatience = _FarPatience(deadline, self)
        self._pid = os.fork()
        if self._pid == 0:
            _be_the_child(theirs, self._socket, account, deadline)
        theirs.close()
        threading.Thread(target=self._receive, name="prober", daemon=True).start()

    def ask(self, what: str, **arguments: Any) -> Any:
        """Run one probe and return its result (`RESULTS`); NotSeen if the child is gone or its reply is invalid."""
        request = ProbeRequest(number=0, what=what, **arguments)
        if not _is_for_everybody(request):
            return probe(request, self.patience)
        arrived = threading.Event()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = arrived
        self.send(ProbeRequest(number=number, what=what, **arguments))
        arrived.wait()
        try:
            return msgspec.json.decode(self._results.pop(number), type=RESULTS[what])
        except (KeyError, msgspec.DecodeError) as error:
            return NotSeen(reason=safe_line(f"the process that probes did not answer: {error}"))

    def send(self, request: ProbeRequest) -> None:
        """Send a request to the child; ignore a child that is gone."""
        with contextlib.suppress(OSError), self._lock:
            _write(self._socket, request)

    def close(self) -> None:
        """End the child."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _receive(self) -> None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            while (content := _read(self._socket)) is not None:
                reply = msgspec.json.decode(content, type=_Reply)
                if reply.number == 0:
                    self.patience.count_up_to(reply.answered)
                elif (arrived := self._waiting.pop(reply.number, None)) is not None:
                    self._results[reply.number] = bytes(reply.result)
                    arrived.set()
        for arrived in list(self._waiting.values()):
            arrived.set()


def _is_for_everybody(request: ProbeRequest) -> bool:
    """Return whether the unprivileged child can run this probe: it needs no unix socket, and no key or authority that
    only root can read."""
    target = request.target
    if target is not None and request.what in ("front", "backend", "upstreams"):
        addresses = {
            "front": (target.connect_to, target.plain_connect_to),
            "backend": (target.backend,),
            "upstreams": target.upstreams,
        }[request.what]
        key = target.client_key or target.client_certificate
        if request.what == "front" and key and not _may_everybody_read(key):
            return False
        return not any((address or "").startswith("unix:") for address in addresses)
    if request.what in ("served", "other_door") and (ca_file := request.words[2]):
        return _may_everybody_read(ca_file)
    return True


def _may_everybody_read(path: str) -> bool:
    """Return whether the modes of the file and of every directory above it let everybody read it (path_resolution(7));
    True if they cannot be read."""
    try:
        *above, file = path_entries(path)
    except (OSError, ValueError):
        return True  # the probe reports the error
    directories = (entry for entry in above if stat.S_ISDIR(entry.mode))
    return bool(file.mode & stat.S_IROTH) and all(entry.mode & stat.S_IXOTH for entry in directories)


class _FarPatience(Deadline):
    """The deadline of exchanges that the child makes: it sends cuts to the child and receives the count of answers."""

    def __init__(self, deadline: float, prober: Prober) -> None:
        super().__init__(deadline)
        self._prober = prober

    def cut(self, reason: str) -> None:
        """End every exchange of the child. Only the first reason is kept."""
        first = not self.is_cut
        super().cut(reason)
        if first:
            self._prober.send(ProbeRequest(number=0, reason=reason))

    def count_up_to(self, count: int) -> None:
        """Record that ``count`` exchanges have been answered."""
        self._answered = max(self._answered, count)


# --- the child --------------------------------------------------------------------------------------------------------


def _be_the_child(
    own: socket.socket, parents: socket.socket, account: UnprivilegedAccount, deadline: float
) -> None:  # does not return
    try:
        parents.close()
        _import_all()
        drop_privileges(account, network=True)()
        _serve(own, deadline)
    finally:
        os._exit(0)


def _import_all() -> None:
    """Import everything of Python and of this package that a probe needs."""
    from ops.text.secret_scan import forms

    for module in _MODULES:
        importlib.import_module(module)
    for charset in _CHARSETS:
        codecs.lookup(charset)
    forms.table()


def _serve(own: socket.socket, deadline: float) -> None:
    lock = threading.Lock()

    def reply(message: _Reply) -> None:
        with contextlib.suppress(OSError), lock:
            _write(own, message)

    patience = _NearPatience(deadline, reply)
    while (content := _read(own)) is not None:
        request = msgspec.json.decode(content, type=ProbeRequest)
        if not request.what:
            patience.cut(request.reason)
            continue
        threading.Thread(target=_answer, args=(request, patience, reply), daemon=True).start()


class _NearPatience(Deadline):
    """The child's deadline, which reports each answered exchange to the parent."""

    def __init__(self, deadline: float, reply: Callable[[_Reply], None]) -> None:
        super().__init__(deadline)
        self._reply = reply

    def count_answer(self) -> None:
        """Count one more answered exchange and report the total."""
        super().count_answer()
        self._reply(_Reply(number=0, answered=self.answered))


def _answer(request: ProbeRequest, patience: Deadline, reply: Callable[[_Reply], None]) -> None:
    try:
        result = probe(request, patience)
    except Exception as error:  # noqa: BLE001  one probe's defect must not cost the others
        result = NotSeen(reason=safe_line(f"the probe failed: {type(error).__name__}: {error}"))
    reply(_Reply(number=request.number, result=msgspec.Raw(msgspec.json.encode(result))))


# --- messages: a length and JSON --------------------------------------------------------------------------------------


def _write(to: socket.socket, message: msgspec.Struct) -> None:
    content = msgspec.json.encode(message)
    to.sendall(_LENGTH.pack(len(content)) + content)


def _read(source: socket.socket) -> bytes | None:
    """Read one message; None at the end. Raises OSError, also if the message is too long."""
    head = _exactly(source, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise OSError(f"a message of {length} bytes")
    return _exactly(source, length)


def _exactly(source: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        piece = source.recv(min(65536, count - len(received)))
        if not piece:
            return None
        received += piece
    return bytes(received)
