"""``recv`` and ``send`` on a socket that does not block, without giving the interpreter lock away.

Python gives the lock away for each call to the kernel, for it cannot know that one does not block. Beside threads that
compute, getting it back takes a switch interval and more, a hundred times as long as the call. So the main loop of a
worker, which reads and refuses hundreds of requests in a second of overload, spent its time with waiting for the lock,
and the threads that serve spent theirs with handing it over.
"""

import ctypes
import socket

_MOST = 65536  # bytes that are received at once

# PyDLL keeps the lock during a call.
_libc = ctypes.PyDLL(None)
_recv, _send = _libc.recv, _libc.send
_recv.restype = _send.restype = ctypes.c_ssize_t
_recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
# Never blocks, and a closed connection raises an exception instead of SIGPIPE.
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_buffer = bytearray(_MOST)
_view = memoryview(_buffer)
_address = ctypes.addressof((ctypes.c_char * _MOST).from_buffer(_buffer))


def receive(sock: socket.socket) -> bytes:
    """What has arrived, at most 64 KiB; empty at the end. For one thread only.

    Raises:
        OSError: BlockingIOError if nothing has arrived; or the connection is broken.
    """
    count = _recv(sock.fileno(), _address, _MOST, _FLAGS)
    # Python's own call says what is wrong.
    return bytes(_view[:count]) if count >= 0 else sock.recv(_MOST)


def send(sock: socket.socket, data: bytes) -> int:
    """Send what the kernel takes of ``data`` at once; returns how much.

    Raises:
        OSError: BlockingIOError if it takes nothing; or the connection is broken.
    """
    count: int = _send(sock.fileno(), data, len(data), _FLAGS)
    return count if count >= 0 else sock.send(data)
