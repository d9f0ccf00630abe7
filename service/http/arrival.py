"""When a request has arrived whole: read without blocking, so that a slow sender costs no thread (RFC 9112).

This decides only whether to wait for more. What is malformed counts as arrived: gunicorn's parser refuses it. Where
that parser would wait for more, in a thread, the request is refused instead (``refusal``).
"""

import re
from enum import Enum, auto
from http import HTTPStatus

from service.http.request_head import RequestHead

_LARGEST_HEAD = 64 * 1024  # bytes; gunicorn refuses a longer one
_LONGEST_CHUNK_LINE = 8190
# gunicorn's parser copies what follows each chunk: 200,000 chunks of a byte took it 20 s. That is the number of chunks
# times the body's length, so a limit that allows larger bodies does not allow more chunks.
_MOST_CHUNKS = 8192
_HEAD_END = b"\r\n\r\n"
_LONGEST_LENGTH = 18  # digits
_CHUNK_SIZE = re.compile(rb"0*([0-9a-f]{1,16})[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class _Awaits(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_LINE = auto()
    TRAILER = auto()
    NOTHING = auto()


_NO_HEAD = RequestHead(b"")


class Arrival:
    """One request, as far as it has arrived."""

    # How each begins. In the class, because there is one for each request.
    data: bytes | bytearray = b""  # most requests come in one piece, which is not copied
    head = _NO_HEAD  # as soon as it has arrived
    wants_continue = False  # the client waits for "100 Continue" before it sends the body
    # What to answer instead of passing it on: its body will not be waited for.
    refusal: HTTPStatus | None = None
    why = ""  # of the refusal, where its status does not say it
    _awaits = _Awaits.HEAD
    _at = 0  # where what is awaited begins
    _head_end = 0
    _body_end = 0
    _decoded = 0  # bytes of the chunks so far
    _chunks = 0

    def __init__(self, most: int) -> None:
        """``most``: bytes of the largest body that is waited for; a longer one is the application's to refuse."""
        self._most = most

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is waited for."""
        return self._awaits is _Awaits.NOTHING

    @property
    def is_last(self) -> bool:
        """Whether the connection cannot take another request after this one without gunicorn's parser."""
        return self.head.closes or self.is_followed or not self.head.is_plainly_framed

    @property
    def is_followed(self) -> bool:
        """Whether a further request, or a part of one, came in one piece with this one (RFC 9112, 9.3.2)."""
        return len(self.data) != self._body_end

    def add(self, data: bytes) -> bool:
        """So much more has arrived. Returns ``is_whole``."""
        searched = len(self.data)
        if searched:
            self.data = bytearray(self.data) if isinstance(self.data, bytes) else self.data
            self.data += data
        else:
            self.data = data
        if self._awaits is _Awaits.HEAD:
            self._look_for_head(max(0, searched - len(_HEAD_END) + 1))
        if self._awaits is _Awaits.BODY:
            if len(self.data) < self._body_end:
                return False
            self._awaits = _Awaits.NOTHING
            return True
        while self._awaits is _Awaits.CHUNK_LINE and self._has_skipped_chunk():
            pass
        if self._awaits is _Awaits.TRAILER:
            self._look_for_trailer(max(self._at, searched - len(_HEAD_END) + 1))
        return self.is_whole

    def _look_for_head(self, start: int) -> None:
        end = self.data.find(_HEAD_END, start)
        if end < 0:
            if len(self.data) > _LARGEST_HEAD:
                self._awaits = _Awaits.NOTHING
            return
        self._head_end = end + len(_HEAD_END)
        head = self.head = RequestHead(bytes(self.data[: self._head_end]))
        expectation = _EXPECTS.search(head.raw) if "expect" in head.fields else None
        if expectation is not None:
            # Answered while the request is waited for. Without the header gunicorn does not answer it again.
            self.data = self.data[: expectation.start()] + self.data[expectation.end() :]
            self._head_end -= len(expectation.group())
            self.wants_continue = True
        self._at = self._head_end
        # What is no number is gunicorn's to refuse.
        length = head.fields.get("content-length")
        if length is not None and not length.isdecimal():
            length = None
        if "transfer-encoding" in head.fields:
            if [coding.lower() for coding in head.values("transfer-encoding")] != ["chunked"]:
                # RFC 9112, 6.1.
                self._refuse(HTTPStatus.NOT_IMPLEMENTED)
            elif length is not None:
                self._refuse(HTTPStatus.BAD_REQUEST)
            else:
                self._awaits = _Awaits.CHUNK_LINE
            return
        if length is not None and len(length) > _LONGEST_LENGTH and len(length.lstrip("0")) > _LONGEST_LENGTH:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        size = int(length or 0)
        if size > self._most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body_end = self._head_end + size
        self._awaits = _Awaits.BODY

    def _refuse(self, status: HTTPStatus) -> None:
        self.refusal, self._awaits = status, _Awaits.NOTHING

    def _has_skipped_chunk(self) -> bool:
        """Whether the next chunk is here, after which another one is awaited (RFC 9112, 7.1)."""
        end = self.data.find(b"\r\n", self._at)
        if end < 0:
            if len(self.data) - self._at > _LONGEST_CHUNK_LINE:
                self._refuse(HTTPStatus.BAD_REQUEST)
            return False
        line = _CHUNK_SIZE.fullmatch(self.data, self._at, end)
        if line is None:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return False
        size = int(line[1], 16)
        lines = self._at - self._head_end - self._decoded
        self._chunks += 1
        if self._chunks > _MOST_CHUNKS or lines > self._most + _LARGEST_HEAD:
            # So small that their lines outweigh all that may be in them.
            self.why = "the body is in too many or too small chunks"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return False
        if self._decoded + size > self._most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
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

    def _look_for_trailer(self, start: int) -> None:
        end = self.data.find(_HEAD_END, start)
        if end >= 0:
            self._body_end = end + len(_HEAD_END)
            self._awaits = _Awaits.NOTHING
        elif len(self.data) - self._at > _LARGEST_HEAD:
            self._refuse(HTTPStatus.BAD_REQUEST)
