"""The sockets at which processes wait for clients: TCP sockets that listen, and unix sockets with a path.

psutil lists every connection and reads the address of each: 18,000 of them cost 0.4 s of the processor, and this
0.15 s. Sources: proc(5), /proc/net/tcp and /proc/net/unix, /proc/PID/fd."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from ops.interpret.address import join_address
from ops.text.sanitize import without_controls

_LISTENS = "0A"
_SOCKET = "socket:["
# Whoever binds a socket chooses its path, line breaks too: what follows one may look like a row. 108 bytes: unix(7).
_UNIX_ROW = re.compile(
    r"[0-9a-f]{8,16}: [0-9A-F]{8} [0-9A-F]{8} [0-9A-F]{8} [0-9A-F]{4} [0-9A-F]{2} {1,20}(?P<inode>[0-9]{1,20})"
    r" (?P<path>.{1,108})"
)


class ListeningRow(NamedTuple):
    """A TCP socket that listens: its address, the connections that wait to be accepted, its inode."""

    address: str
    queued: int
    inode: str


def bound_sockets() -> Iterator[tuple[str, int | None]]:
    """Yield each address (``unix:/path``), with each process that has its socket; None if none was seen."""
    addresses = [(row.address, row.inode) for row in listening_rows()]
    addresses += [(f"unix:{path}", inode) for path, inode in _unix_rows()]
    holders = _holders({inode for _, inode in addresses})
    for address, inode in addresses:
        for pid in holders.get(inode, (None,)):
            yield address, pid


def accept_queues() -> dict[str, int]:
    """The number of connections waiting to be accepted on listening TCP sockets, by address."""
    queues: dict[str, int] = {}
    for row in listening_rows():
        queues[row.address] = queues.get(row.address, 0) + row.queued
    return queues


def listening_rows() -> Iterator[ListeningRow]:
    """Yield the TCP sockets that listen.

    For a socket in LISTEN the kernel shows the accept queue's length as rx_queue (proc(5), /proc/net/tcp)."""
    for table, family, words in (("tcp", socket.AF_INET, 1), ("tcp6", socket.AF_INET6, 4)):
        for row in _rows(table):
            if _LISTENS not in row:
                continue
            columns = row.split()
            if len(columns) < 5 or columns[3] != _LISTENS:
                continue
            raw, port = columns[1].split(":")
            # Each 32-bit word of the address is in host byte order, little endian on every machine we serve.
            packed = b"".join(bytes.fromhex(raw[8 * i : 8 * i + 8])[::-1] for i in range(words))
            yield ListeningRow(
                join_address(socket.inet_ntop(family, packed), int(port, 16)),
                int(columns[4].partition(":")[2], 16),
                columns[9] if len(columns) > 9 else "",
            )


def _unix_rows() -> Iterator[tuple[str, str]]:
    """Yield the path and the inode of each unix socket that has a path."""
    matches = [match for row in _rows("unix") if (match := _UNIX_ROW.fullmatch(row))]
    rows = Counter(match["inode"] for match in matches)
    for match in matches:
        # No file that anybody could be told of has such a name.
        if not match["path"].startswith("/") or without_controls(match["path"]) != match["path"]:
            continue
        # Of two rows for one socket a path has made one: no process is named for either.
        yield match["path"], match["inode"] if rows[match["inode"]] == 1 else ""


def _rows(table: str) -> list[str]:
    try:
        text = Path(f"/proc/net/{table}").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return text.split("\n")[1:]


def _holders(inodes: set[str]) -> dict[str, list[int]]:
    """The processes that have each of the sockets open, as far as their descriptors may be read."""
    holders: dict[str, list[int]] = defaultdict(list)
    for pid in psutil.pids():
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208  only names
        except OSError:
            continue  # it has ended, or is another user's
        seen = set()
        for name in names:
            try:
                link = os.readlink(f"{folder}/{name}")  # noqa: PTH115  not a path
            except OSError:
                continue
            if link.startswith(_SOCKET) and (inode := link[len(_SOCKET) : -1]) in inodes:
                seen.add(inode)
        for inode in seen:
            holders[inode].append(pid)
    return holders
