"""The protocol between the web worker and its engine process: frames of bytes over a socket pair.

A frame is a kind, the number of the batch it belongs to, the length of its payload, and the payload. Numbers are in
the machine's own byte order: both ends are the same program on the same machine.
"""

import socket
import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy

from service.engines.gte.tokens import Tokens
from service.engines.vectors import Vectors

_HEADER = struct.Struct("=BQQ")
_LARGEST = 1 << 30  # bytes; a longer frame is malformed


class Kind(IntEnum):
    """The kind of a frame. The engine sends the first three, the worker the last."""

    READY = 1  # JSON: the facts of the loaded model; sent once
    VECTORS = 2  # float32, one row a text
    FAILED = 3  # UTF-8: why this batch failed; the engine goes on
    BATCH = 4  # int32: the number of texts, their lengths, their tokens


class ClosedError(Exception):
    """The other side has closed the channel."""


def send(channel: socket.socket, kind: Kind, number: int, payload: bytes) -> None:
    """Send one frame.

    Raises:
        ClosedError: the other side has closed the channel. TimeoutError: the channel's time-out expired.
    """
    try:
        channel.sendall(_HEADER.pack(kind, number, len(payload)) + payload)
    except TimeoutError:
        raise
    except OSError as error:
        raise ClosedError(str(error)) from None


class Receiver:
    """Receives frames from a channel; a partial frame is kept over a time-out."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()

    def receive(self) -> tuple[Kind, int, bytes]:
        """The next frame.

        Raises:
            ClosedError: the other side has closed the channel, or sent a malformed frame. TimeoutError: as in ``send``.
        """
        self._until(_HEADER.size)
        kind, number, length = _HEADER.unpack_from(self._buffer)
        if length > _LARGEST:
            raise ClosedError("a frame is too long")
        self._until(_HEADER.size + length)
        payload = bytes(self._buffer[_HEADER.size : _HEADER.size + length])
        del self._buffer[: _HEADER.size + length]
        try:
            return Kind(kind), number, payload
        except ValueError:
            raise ClosedError(f"a frame is of the kind {kind}") from None

    def _until(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                part = self._channel.recv(1 << 20)
            except TimeoutError:
                raise
            except OSError as error:
                raise ClosedError(str(error)) from None
            if not part:
                raise ClosedError("the channel was closed")
            self._buffer += part


def pack_batch(sequences: Sequence[Tokens]) -> bytes:
    """The payload of a BATCH."""
    lengths = numpy.asarray([len(sequences), *map(len, sequences)], dtype=numpy.int32)
    return numpy.concatenate([lengths, *sequences]).tobytes()


def unpack_batch(payload: bytes) -> list[Tokens]:
    """The sequences of a BATCH.

    Raises:
        ValueError: the payload is inconsistent.
    """
    numbers = numpy.frombuffer(payload, dtype=numpy.int32)
    count = int(numbers[0]) if len(numbers) else 0
    lengths = numbers[1 : 1 + count]
    if (
        count < 1
        or len(lengths) != count
        or len(numbers) != 1 + count + int(lengths.sum())
        or lengths.min() < 1
    ):
        raise ValueError("a batch does not hold what it announces")
    return numpy.split(numbers[1 + count :], numpy.cumsum(lengths)[:-1])


def unpack_vectors(payload: bytes, count: int) -> Vectors:
    """The rows of a VECTORS for ``count`` texts.

    Raises:
        ValueError: the number is another.
    """
    return numpy.frombuffer(payload, dtype=numpy.float32).reshape(count, -1)
