"""Query gunicorn's control socket (gunicorn >= 25): one request, one answer, within a deadline.

The protocol: a length in four bytes, big endian, then JSON, in both directions (gunicorn, ctl/protocol.py).
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

from ops.facts.base import NotSeen
from ops.text.sanitize import safe_line

MAX_ANSWER_BYTES = 1 << 20


class NoAnswerError(Exception):
    """The socket exists, but gunicorn did not answer in time."""


def ask(path: str, command: str, *, seconds: float) -> dict[str, Any] | NotSeen:
    """Send ``command`` (such as ``show workers``) and return the answer's ``data``. `NotSeen` if the socket cannot be
    used, or the answer is invalid. Raises NoAnswerError without an answer within ``seconds``: the master's loop is
    blocked."""
    deadline = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(path)
            question = json.dumps({"id": 1, "command": command, "args": []}).encode()
            sock.sendall(struct.pack(">I", len(question)) + question)
            (length,) = struct.unpack(">I", _receive(sock, 4, deadline))
            if length > MAX_ANSWER_BYTES:
                return NotSeen(reason=f"{path}: an answer of {length} bytes")
            answer = json.loads(_receive(sock, length, deadline))
    except TimeoutError:
        raise NoAnswerError(path) from None
    except (OSError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{path}: {error}"), needs_root=isinstance(error, PermissionError))
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else NotSeen(reason=f"{path}: not gunicorn's answer")


def _receive(sock: socket.socket, count: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < count:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        sock.settimeout(seconds)
        piece = sock.recv(count - len(received))
        if not piece:
            raise ConnectionResetError("closed in the middle of an answer")
        received += piece
    return bytes(received)
