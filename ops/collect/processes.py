"""Processes of the web stack, and everything that listens."""

from __future__ import annotations

import os
import re
import socket
from collections import defaultdict
from pathlib import Path

import psutil

from ops.collect.process_status import process_status
from ops.collect.start_time import start_ticks
from ops.files.nofollow import trusted_users
from ops.quoting import safe_line, safe_words, without_controls
from ops.snapshot import Listener, Process, Processes
from ops.topology.address import join_address

_WEB = re.compile(r"nginx|gunicorn|python|flask|uwsgi|uvicorn|werkzeug", re.IGNORECASE)
_WEB_BYTES = re.compile(_WEB.pattern.encode(), re.IGNORECASE)
# The variables that decide how Flask and gunicorn run; the rest of an environment may hold secrets.
_TELLING_VARIABLES = ("FLASK_DEBUG", "FLASK_ENV", "FLASK_APP", "GUNICORN_CMD_ARGS")
MAX_PROCESSES = 400


def processes() -> Processes:
    """Web-related processes and all listening TCP sockets and bound unix sockets of the machine."""
    holders: dict[str, set[int]] = defaultdict(set)
    for connection in psutil.net_connections(kind="all"):
        if address := _listening_address(connection):
            holders[address].update({connection.pid} if connection.pid else set())
    queues = accept_queues()
    wanted = set().union(*holders.values()) if holders else set()
    found: list[Process] = []
    # Whoever fills the table with names like these must not hide the host's own and who listens.
    for pid in sorted(psutil.pids(), key=lambda pid: (pid not in wanted, not _is_trusted(pid))):
        if len(found) >= MAX_PROCESSES:
            break
        if pid not in wanted and not _may_be_web(pid):
            continue
        try:
            if (facts := _process(psutil.Process(pid), pid in wanted)) is not None:
                found.append(facts)
        except psutil.Error:  # it ended while we looked
            continue
    return Processes(
        processes=tuple(found),
        listeners=tuple(
            Listener(address=address, pids=tuple(sorted(pids)), queued=queues.get(address))
            for address, pids in sorted(holders.items())
        ),
        caller=os.geteuid(),
    )


def _is_trusted(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid in trusted_users()  # noqa: PTH116  called for every process
    except OSError:
        return False


def _may_be_web(pid: int) -> bool:
    """Whether the name or the command line has one of the words: two small files, where psutil reads a dozen."""
    try:
        for file in ("comm", "cmdline"):
            if _WEB_BYTES.search(Path(f"/proc/{pid}/{file}").read_bytes()):
                return True
    except OSError:  # it ended while we looked, or is hidden from us
        return False
    return False


def _process(process: psutil.Process, wanted: bool) -> Process | None:
    with process.oneshot():
        name = process.name()
        command = process.cmdline()
        if not wanted and not _WEB.search(name) and not _WEB.search(" ".join(command[:3])):
            return None
        status = process_status(process.pid)
        if status is None:
            raise psutil.NoSuchProcess(process.pid)
        # A container's paths lead to other files here.
        elsewhere = status.is_nested or status.has_other_root
        return Process(
            pid=process.pid,
            ppid=process.ppid(),
            name=safe_line(name),
            command=safe_words(command[:64]),
            user=process.username(),
            state=process.status(),
            started=process.create_time(),
            cwd=None if elsewhere else _allowed(process.cwd),
            environment=_telling_environment(process),
            executable=None if elsewhere else _allowed(process.exe),
            start_ticks=start_ticks(process.pid),
            uid=status.uid,
            is_nested=status.is_nested,
            is_setuid=status.is_setuid,
            has_other_root=status.has_other_root,
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


def _listening_address(connection: object) -> str | None:
    family = getattr(connection, "family", None)
    local = getattr(connection, "laddr", None)
    if family == socket.AF_UNIX:
        return f"unix:{local}" if isinstance(local, str) and local.startswith("/") else None
    if getattr(connection, "status", None) != psutil.CONN_LISTEN or not local:
        return None
    return join_address(local.ip, local.port)


def accept_queues() -> dict[str, int]:
    """Connections waiting to be accepted on each listening TCP socket, by address.

    For a socket in LISTEN the kernel shows the accept queue's length as rx_queue (proc(5), /proc/net/tcp)."""
    queues: dict[str, int] = {}
    for table, family, words in (("tcp", socket.AF_INET, 1), ("tcp6", socket.AF_INET6, 4)):
        try:
            rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if len(columns) < 5 or columns[3] != "0A":
                continue
            raw, port = columns[1].split(":")
            # Each 32-bit word of the address is in host byte order, little endian on every machine we serve.
            packed = b"".join(bytes.fromhex(raw[8 * i : 8 * i + 8])[::-1] for i in range(words))
            address = join_address(socket.inet_ntop(family, packed), int(port, 16))
            queues[address] = queues.get(address, 0) + int(columns[4].partition(":")[2], 16)
    return queues
