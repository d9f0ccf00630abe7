"""age encryption (age-encryption.org/v1), to recipients only: the host makes backups that it cannot read itself."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from ops.archive.error import ArchiveError, LockedArchiveError
from ops.errors import OpsError
from ops.text.language import Text
from ops.text.reasons import chinese

MAX_IDENTITY_BYTES = 1 << 20
Recipient = Any
Identity = Any


def recipients(texts: Sequence[str]) -> list[Recipient]:
    """Recipients from their text: ``age1...``, or an SSH public key (ssh-ed25519, ssh-rsa).

    Raises OpsError that names the first invalid one."""
    import pyrage

    parsed_recipients = []
    for text in texts:
        try:
            kind = pyrage.ssh if text.lstrip().startswith("ssh-") else pyrage.x25519
            parsed_recipients.append(kind.Recipient.from_str(text.strip()))
        except (pyrage.RecipientError, ValueError):
            raise OpsError(
                Text(
                    en=f"backup.recipients: {text!r} is no age recipient; write age1... as age-keygen -y prints it,"
                    " or an SSH public key",
                    zh=f"backup.recipients：{text!r} 不是 age 接收方；请填写 age-keygen -y 输出的 age1...，或 SSH"
                    " 公钥",
                )
            ) from None
    return parsed_recipients


def read_identities(path: Path) -> list[Identity]:
    """The identities in an age key file (one AGE-SECRET-KEY-... a line, # for comments) or an SSH private key.

    Raises OpsError if it cannot be read, holds none, or users other than its owner may read it."""
    import pyrage

    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise OpsError(
                    Text(
                        en=f"{path}: others than its owner may use this identity file (mode {mode:04o}); chmod 600"
                        f" {path}",
                        zh=f"{path}：除属主外，其他用户也能使用此私钥文件（权限 {mode:04o}）；请执行 chmod 600 {path}",
                    )
                )
            content = file.read(MAX_IDENTITY_BYTES)
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{path}: the identity file cannot be read: {error.strerror or error}",
                zh=f"{path}：无法读取私钥文件：{chinese(error.strerror or error)}",
            )
        ) from None
    try:
        if b"PRIVATE KEY-----" in content:
            return [pyrage.ssh.Identity.from_buffer(content)]
        lines = (line.strip() for line in content.decode("ascii").splitlines())
        identities = [
            pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")
        ]
    except (pyrage.IdentityError, ValueError):
        # Without the line and the error's message: both may contain the key.
        raise OpsError(
            Text(
                en=f"{path}: not an age identity file, nor an SSH private key without a passphrase",
                zh=f"{path}：既不是 age 私钥文件，也不是没有密码短语的 SSH 私钥",
            )
        ) from None
    if not identities:
        raise OpsError(Text(en=f"{path}: there is no identity in this file", zh=f"{path}：文件中没有私钥"))
    return identities


class ChunkReader:
    """``read()`` over chunks. An exception raised while making a chunk is kept in ``error``, because pyrage would
    report it as its own."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """``chunks``: read as they come."""
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, at least one before the end."""
        try:
            while not self._rest:
                self._rest = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        piece = self._rest[:size] if size >= 0 else self._rest
        self._rest = self._rest[len(piece) :]
        return bytes(piece)


class Writable(Protocol):
    """A consumer of bytes."""

    def write(self, content: bytes, /) -> int:
        """Write all of ``content``."""
        ...

    def flush(self) -> None:
        """Pass on what was written."""
        ...


def encrypt(chunks: Iterator[bytes], target: Writable, to: Sequence[Recipient]) -> None:
    """Write ``chunks``, encrypted to the recipients ``to``, to ``target``. Raises the exceptions of making a chunk or
    writing it."""
    import pyrage

    source, sink = ChunkReader(chunks), _Sink(target)
    try:
        pyrage.encrypt_io(source, sink, list(to))
    except BaseException as error:  # noqa: BLE001  raised again, as what it was at first
        raise source.error or sink.error or error from None


class _Sink:
    def __init__(self, target: Writable) -> None:
        self._target = target
        self.error: BaseException | None = None

    def write(self, content: bytes) -> int:
        try:
            return self._target.write(content)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._target.flush()


@contextmanager
def decrypted(file: BinaryIO, identities: Sequence[Identity], name: str) -> Iterator[BinaryIO]:
    """The decrypted stream of ``file``. It returns only authenticated parts (age: 64 KiB each). A truncated file is
    detected when the stream has been read to its end.

    Raises LockedArchiveError or ArchiveError, with ``name`` as its path, on reading or on leaving the block."""
    import pyrage

    if not identities:
        raise LockedArchiveError(name, "it is encrypted; give the identity that opens it (--identity FILE)")
    read_end, write_end = os.pipe()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with os.fdopen(write_end, "wb", buffering=1 << 16) as sink:
                pyrage.decrypt_io(file, sink, list(identities))
        except BaseException as error:  # noqa: BLE001  handed over to the reader
            failed.append(error)

    worker = threading.Thread(target=work, name="age", daemon=True)
    stream = _Plain(os.fdopen(read_end, "rb", buffering=1 << 16), worker, failed, name)
    worker.start()
    try:
        yield cast("BinaryIO", stream)  # only read() is used
    finally:
        # Closing wakes a thread that waits for room in the pipe.
        stream.close()
        worker.join()


class _Plain:
    def __init__(
        self, pipe: BinaryIO, worker: threading.Thread, failed: list[BaseException], name: str
    ) -> None:
        self._pipe, self._worker, self._failed, self._name = pipe, worker, failed, name

    def read(self, size: int = -1) -> bytes:
        content = self._pipe.read(size)
        if len(content) < size or size < 0:
            self._worker.join()
            if self._failed:
                raise self._reason(self._failed[0])
        return content

    def close(self) -> None:
        self._pipe.close()

    def _reason(self, error: BaseException) -> BaseException:
        words = str(error)
        if "No matching keys" in words:
            return LockedArchiveError(self._name, "it is encrypted, and not to any of the identities given")
        if isinstance(error, OSError) and error.errno is not None:
            return ArchiveError(self._name, f"it cannot be read: {error.strerror}")
        return ArchiveError(self._name, f"its encryption is damaged: {words or type(error).__name__}")
