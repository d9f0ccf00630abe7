"""gunicorn's control socket (gunicorn >= 25): one question, one answer, never longer than its deadline.

The protocol: a length in four bytes, big endian, then JSON, both ways (gunicorn, ctl/protocol.py).
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
    """The socket is there, and nobody answered in time."""


def ask(path: str, command: str, *, seconds: float) -> dict[str, Any] | NotSeen:
    """The answer's ``data`` for ``command`` (``show workers``). `NotSeen` where there is no socket to ask, or its
    answer is none. Raises NoAnswerError when nothing came within ``seconds``: the master's loop does not turn."""
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
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        piece = sock.recv(count - len(received))
        if not piece:
            raise ConnectionResetError("closed in the middle of an answer")
        received += piece
    return bytes(received)
