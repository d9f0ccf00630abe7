"""A peer on loopback that answers as badly as a test tells it to."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

# What a test's peer does with one accepted connection.
Manners = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(manners: Manners, tls: ssl.SSLContext | None = None, path: str | None = None) -> Iterator[str]:
    """A server whose every connection gets ``manners``; yields its address. Gone at the end of the block."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(path or ("127.0.0.1", 0))
    listener.listen(32)
    taken: list[socket.socket] = []

    def serve(sock: socket.socket) -> None:
        # The other end going away is how most of these conversations are meant to end.
        with contextlib.suppress(OSError), sock:
            manners(tls.wrap_socket(sock, server_side=True) if tls else sock)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                taken.append(sock)
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"unix:{path}" if path else f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in taken:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def request_of(sock: socket.socket) -> bytes:
    """The head of the request, and as much of its body as Content-Length says."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(65536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def says(answer: bytes) -> Manners:
    """Reads the request, sends ``answer``, closes."""

    def manners(sock: socket.socket) -> None:
        request_of(sock)
        sock.sendall(answer)

    return manners


def repeats(piece: bytes, first: bytes = b"", every: float = 0.0) -> Manners:
    """Reads the request, sends ``first``, then ``piece`` without end, one each ``every`` seconds."""

    def manners(sock: socket.socket) -> None:
        request_of(sock)
        sock.sendall(first)
        pace = threading.Event()
        while not pace.wait(every):
            sock.sendall(piece)

    return manners


def silent(sock: socket.socket) -> None:
    """Accepts and says nothing, as a stopped process does, until the other end goes."""
    while sock.recv(65536):
        pass


def resets(sock: socket.socket) -> None:
    """Reads the request and drops the connection with a reset."""
    request_of(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
