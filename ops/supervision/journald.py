"""Messages to systemd's journal with a priority and fields, by its native protocol, without its library.

systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram holds a message's fields. A line on standard output would arrive there
too, but with one priority for all, and with nothing to search by.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TextIO

JOURNAL_SOCKET = "/run/systemd/journal/socket"


class Priority(IntEnum):
    """Those of syslog (syslog(3)) that are used."""

    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class JournalSocket:
    """The journal's socket at ``path``."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path

    def send(self, fields: Sequence[tuple[str, str]]) -> bool:
        """Send one message; False if the journal did not take it. A field may occur more than once."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1.0)
                sock.sendto(datagram(fields), self._path)
        except OSError:
            return False
        return True


def journal_behind(
    out: TextIO, environ: Mapping[str, str] | None = None, path: str = JOURNAL_SOCKET
) -> JournalSocket | None:
    """The journal, if ``out`` leads to it: $JOURNAL_STREAM names device and inode of that stream (systemd.exec(5))."""
    stream = (os.environ if environ is None else environ).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(out.fileno())
    except (OSError, ValueError):
        return None
    return JournalSocket(path) if stream == f"{status.st_dev}:{status.st_ino}" else None


def datagram(fields: Sequence[tuple[str, str]]) -> bytes:
    """The fields in the form of the protocol: a value with a line break is preceded by its length."""
    parts = []
    for name, value in fields:
        content = value.encode("utf-8", "replace")
        if b"\n" in content:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n")
        else:
            parts.append(name.encode() + b"=" + content + b"\n")
    return b"".join(parts)
