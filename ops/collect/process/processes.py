"""Processes of the web stack, and all listening sockets."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from ops.collect.process.bound_sockets import accept_queues, bound_sockets
from ops.collect.process.process_status import container_of, process_status, system_unit
from ops.collect.process.start_time import start_ticks, start_time
from ops.facts.host import Listener, Process, Processes
from ops.files.nofollow import trusted_users
from ops.files.time_limit import AbandonedReads
from ops.interpret.address import join_address
from ops.interpret.tunnels import TUNNELS
from ops.text.sanitize import safe_line, safe_words, without_controls

_NAMES = ("nginx", "gunicorn", "python", "flask", "uwsgi", "uvicorn", "werkzeug", *sorted(TUNNELS))
_WEB = re.compile("|".join(_NAMES), re.IGNORECASE)
_WEB_BYTES = re.compile(_WEB.pattern.encode(), re.IGNORECASE)
# The variables that decide how Flask and gunicorn run, systemd's watchdog, and the service's own limit of requests; the
# rest may hold secrets.
_TELLING_VARIABLES = (
    "FLASK_DEBUG",
    "FLASK_ENV",
    "FLASK_APP",
    "GTE_API_KEYS_FILE",
    "GTE_RATE",
    "GUNICORN_CMD_ARGS",
    "WATCHDOG_USEC",
)
MAX_PROCESSES = 400
MAX_PRIVATE = 200
# Time limit for reading one process, seconds, and the number that may exceed it before the rest is skipped.
READ_SECONDS = 0.5
MAX_UNREAD = 4
_abandoned = AbandonedReads()


def processes() -> Processes:
    """Read the machine's web-related processes, and all its listening TCP sockets and bound unix sockets."""
    holders: dict[str, set[int]] = defaultdict(set)
    private: dict[str, set[int]] = defaultdict(set)
    for address, pid in bound_sockets():
        of = holders if _is_our_path(address, pid) else private
        of[address].update({pid} if pid else set())
    queues = accept_queues()
    listening_pids = set().union(*holders.values()) if holders else set()
    # A user who fills the table with such names must not displace listening processes and the host's own.
    order = sorted(psutil.pids(), key=lambda pid: (pid not in listening_pids, not _is_trusted(pid)))
    facts, unread = read_each(order, lambda pid: _read(pid, pid in listening_pids), MAX_PROCESSES)
    return Processes(
        processes=tuple(facts),
        listeners=tuple(
            Listener(address=address, pids=tuple(sorted(pids)), queued=queues.get(address))
            for address, pids in sorted(holders.items())
        ),
        caller=os.geteuid(),
        unread=unread,
        private=tuple(
            Listener(address=address, pids=tuple(sorted(pids)))
            for address, pids in sorted(private.items())[:MAX_PRIVATE]
        ),
    )


def _is_our_path(address: str, pid: int | None) -> bool:
    """Whether a unix socket's path is in this host's tree: if a process with its own mounts bound it, the same path may
    lead elsewhere here, or nowhere. True if that may not be read."""
    if not address.startswith("unix:") or pid is None:
        return True
    path = address.removeprefix("unix:")
    try:
        if os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino:  # noqa: PTH116
            return True
        theirs = os.stat(f"/proc/{pid}/root{path}")  # noqa: PTH116
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        ours = os.stat(path)  # noqa: PTH116
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def read_each(
    pids: Sequence[int], read: Callable[[int], Process | None], limit: int
) -> tuple[tuple[Process, ...], tuple[int, ...]]:
    """Read at most ``limit`` processes with ``read``; return them, and the pids that could not be read in time.

    One thread reads until a process blocks it (`ops/files/time_limit.py`), then another continues. A process that still
    blocks an earlier thread of ours is not tried again."""
    blocked = _abandoned.keys()
    unread = [pid for pid in pids if pid in blocked]
    queue = deque(pid for pid in pids if pid not in blocked)
    facts: list[Process] = []
    held_up = 0
    while queue and len(facts) < limit and held_up < MAX_UNREAD:
        reader = _ProcessReader(queue, read, facts, limit)
        if (pid := reader.wait()) is not None:
            held_up += 1
            unread.append(pid)
            _abandoned.add(pid, reader.thread)
    return tuple(facts[:limit]), tuple(unread)


class _ProcessReader:
    """A thread that takes pids from ``queue`` and adds their processes to ``facts``, until it is abandoned."""

    def __init__(
        self, queue: deque[int], read: Callable[[int], Process | None], facts: list[Process], limit: int
    ) -> None:
        self._queue, self._read, self._facts, self._limit = queue, read, facts, limit
        self._lock = threading.Lock()
        self._given_up = False
        self._current: int | None = None
        self._since = time.monotonic()
        self.thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self._queue and len(self._facts) < self._limit:
            pid = self._queue.popleft()
            self._current, self._since = pid, time.monotonic()
            try:
                facts = self._read(pid)
            except Exception:  # noqa: BLE001  one process's oddity must not cost the others
                facts = None
            with self._lock:
                if self._given_up:
                    return
                if facts is not None:
                    self._facts.append(facts)

    def wait(self) -> int | None:
        """Wait for the thread to end, and return None; if one pid takes too long, abandon it and return that pid."""
        while True:
            self.thread.join(READ_SECONDS / 5)
            with self._lock:
                if not self.thread.is_alive():
                    return None
                if time.monotonic() - self._since > READ_SECONDS:
                    self._given_up = True
                    return self._current


def _read(pid: int, is_listening: bool) -> Process | None:
    if not is_listening and not _may_be_web(pid):
        return None
    try:
        return _process(psutil.Process(pid), is_listening)
    except psutil.Error:  # the process ended meanwhile
        return None


def _is_trusted(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid in trusted_users()  # noqa: PTH116  called for every process
    except OSError:
        return False


def _may_be_web(pid: int) -> bool:
    """Whether the name or the command line has one of the words: reads two small files instead of psutil's dozen."""
    try:
        for file in ("comm", "cmdline"):
            if _WEB_BYTES.search(Path(f"/proc/{pid}/{file}").read_bytes()):
                return True
    except OSError:  # the process ended meanwhile, or is hidden from us
        return False
    return False


def _process(process: psutil.Process, is_listening: bool) -> Process | None:
    with process.oneshot():
        name = process.name()
        command = process.cmdline()
        if not is_listening and not _WEB.search(name) and not _WEB.search(" ".join(command[:3])):
            return None
        status = process_status(process.pid)
        if status is None:
            raise psutil.NoSuchProcess(process.pid)
        ticks = start_ticks(process.pid)
        # A container's paths lead to other files here.
        elsewhere = status.is_nested or status.has_other_root
        return Process(
            pid=process.pid,
            ppid=process.ppid(),
            name=safe_line(name),
            command=safe_words(command[:64]),
            user=process.username(),
            state=process.status(),
            started=start_time(ticks) if ticks else process.create_time(),
            cwd=None if elsewhere else _allowed(process.cwd),
            environment=_telling_environment(process),
            executable=None if elsewhere else _allowed(process.exe),
            start_ticks=ticks,
            uid=status.uid,
            is_nested=status.is_nested,
            is_setuid=status.is_setuid,
            has_other_root=status.has_other_root,
            has_other_network=status.has_other_network,
            unit=system_unit(process.pid),
            container=container_of(process.pid) if elsewhere else None,
        )


def _allowed(read: object) -> str | None:
    try:
        return without_controls(str(read())) or None  # type: ignore[operator]
    except (psutil.Error, OSError):
        return None


def _telling_environment(process: psutil.Process) -> dict[str, str] | None:
    try:
        values = process.environ()
    except (psutil.Error, OSError):
        return None
    return {name: safe_line(values[name]) for name in _TELLING_VARIABLES if name in values}


def listening_address(connection: object) -> str | None:
    """The address at which a socket (psutil) listens; None if it does not listen."""
    family = getattr(connection, "family", None)
    local = getattr(connection, "laddr", None)
    if family == socket.AF_UNIX:
        return f"unix:{local}" if isinstance(local, str) and local.startswith("/") else None
    if getattr(connection, "status", None) != psutil.CONN_LISTEN or not local:
        return None
    return join_address(local.ip, local.port)
