"""When a request has arrived whole: read without blocking, so that a slow sender costs no thread (RFC 9112).

This decides only whether to wait for more. What is malformed counts as arrived: gunicorn's parser refuses it.
"""

import re
from enum import Enum, auto

_LARGEST_HEAD = 64 * 1024  # bytes; gunicorn refuses a longer one
_LONGEST_CHUNK_LINE = 8190
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection[ \t]*:[^\r\n]*\bclose\b", re.IGNORECASE)


class _Awaits(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_LINE = auto()
    TRAILER = auto()
    NOTHING = auto()


class Arrival:
    """One request, as far as it has arrived."""

    def __init__(self, most: int) -> None:
        """``most``: bytes of the largest body that is waited for; a longer one is the application's to refuse."""
        self.data = bytearray()
        self.wants_continue = False  # the client waits for "100 Continue" before it sends the body
        self._most = most
        self._awaits = _Awaits.HEAD
        self._at = 0  # where what is awaited begins
        self._head_end = 0
        self._body_end = 0
        self._decoded = 0  # bytes of the chunks so far

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is waited for."""
        return self._awaits is _Awaits.NOTHING

    @property
    def head(self) -> bytes:
        """The request line and the headers, up to the empty line, as soon as they have arrived."""
        return bytes(self.data[: self._head_end])

    @property
    def is_last(self) -> bool:
        """Whether the connection cannot take another request after this one without gunicorn's parser."""
        first, _, _ = self.head.partition(b"\r\n")
        return not first.endswith(b" HTTP/1.1") or _CLOSES.search(self.head) is not None or self.is_followed

    @property
    def is_followed(self) -> bool:
        """Whether a further request, or a part of one, came in one piece with this one (RFC 9112, 9.3.2)."""
        return len(self.data) != self._body_end

    def add(self, data: bytes) -> bool:
        """So much more has arrived. Returns ``is_whole``."""
        searched = len(self.data)
        self.data += data
        if self._awaits is _Awaits.HEAD:
            self._look_for_head(max(0, searched - len(_HEAD_END) + 1))
        if self._awaits is _Awaits.BODY and len(self.data) >= self._body_end:
            self._awaits = _Awaits.NOTHING
        while self._awaits is _Awaits.CHUNK_LINE and self._has_skipped_chunk():
            pass
        if self._awaits is _Awaits.TRAILER:
            self._look_for_trailer()
        return self.is_whole

    def _look_for_head(self, start: int) -> None:
        end = self.data.find(_HEAD_END, start)
        if end < 0:
            if len(self.data) > _LARGEST_HEAD:
                self._awaits = _Awaits.NOTHING
            return
        self._head_end = end + len(_HEAD_END)
        head = self.head
        expectation = _EXPECTS.search(head)
        if expectation is not None:
            # Answered while the request is waited for. Without the header gunicorn does not answer it again.
            del self.data[slice(*expectation.span())]
            self._head_end -= len(expectation.group())
            self.wants_continue = True
        self._at = self._head_end
        coded, length = _CODED.search(head), _LENGTH.search(head)
        if coded is not None:
            is_chunked = coded[1].strip().lower() == b"chunked" and length is None
            self._awaits = _Awaits.CHUNK_LINE if is_chunked else _Awaits.NOTHING
            return
        size = int(length[1]) if length else 0
        self._body_end = self._head_end + size
        self._awaits = _Awaits.NOTHING if size > self._most else _Awaits.BODY

    def _has_skipped_chunk(self) -> bool:
        """Whether the next chunk is here, after which another one is awaited (RFC 9112, 7.1)."""
        end = self.data.find(b"\r\n", self._at)
        if end < 0:
            if len(self.data) - self._at > _LONGEST_CHUNK_LINE:
                self._awaits = _Awaits.NOTHING
            return False
        try:
            size = int(bytes(self.data[self._at : end]).partition(b";")[0].strip(), 16)
        except ValueError:
            size = -1
        # Also a body in chunks so small that their lines outweigh them.
        if size < 0 or self._decoded + size > self._most or self._at - self._head_end > 8 * self._most:
            self._awaits = _Awaits.NOTHING
            return False
        if size == 0:
            self._awaits, self._at = _Awaits.TRAILER, end
            return False
        after = end + 2 + size + 2
        if len(self.data) < after:
            return False
        self._at = after
        self._decoded += size
        return True

    def _look_for_trailer(self) -> None:
        end = self.data.find(_HEAD_END, self._at)
        if end >= 0:
            self._body_end = end + len(_HEAD_END)
        if end >= 0 or len(self.data) - self._at > _LARGEST_HEAD:
            self._awaits = _Awaits.NOTHING
