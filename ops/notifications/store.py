"""The outbox's file: intact after any crash, not readable by others, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops.notifications.ledger import Ledger

# A stopped holder must not stop the watchdog: after this time it continues without the file.
LOCK_WITHIN_S = 2.0
MAX_FILE_BYTES = 4 << 20
MAX_TORN_FILES = 5

_PRIVATE = 0o600


class StoreError(Exception):
    """The file could not be read or written now; the message says why."""


class TornError(Exception):
    """The file's content is not a ledger."""


class Store:
    """One ledger in one file. ``<name>.lock`` serialises changes, ``<name>.sending`` deliveries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: Path | None = None

    def read(self) -> Ledger:
        """The ledger in the file; an empty one if there is no file. Raises StoreError, TornError."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return Ledger()
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        try:
            if len(content) > MAX_FILE_BYTES:
                raise ValueError("larger than it can be")
            return msgspec.json.decode(content, type=Ledger)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            raise TornError(str(self.path)) from None

    def read_or_set_aside(self) -> Ledger:
        """`read`, but a torn file is set aside as ``<name>.torn-<time>``, which ``torn`` then names.

        Call it while `changing` is held, so that it does not move another process's new file. Losing a few messages is
        better than never sending one again. Raises StoreError if the file cannot even be read.
        """
        try:
            return self.read()
        except TornError:
            self._set_aside()
            return Ledger()

    def write(self, ledger: Ledger) -> None:
        """Replace the file: written beside it, synced, renamed, the rename synced. Raises StoreError."""
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            descriptor = os.open(
                beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE
            )
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), _PRIVATE)
                file.write(msgspec.json.encode(ledger))
                file.flush()
                os.fsync(file.fileno())
            beside.rename(self.path)
            self._sync_directory()
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise StoreError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """A lock for reading and replacing the file. Raises StoreError if it cannot be taken."""
        with self._locked(f"{self.path.name}.lock", LOCK_WITHIN_S) as has_lock:
            if not has_lock:
                raise StoreError(
                    f"{self.path}: locked by another process for more than {LOCK_WITHIN_S:.0f} s"
                )
            yield

    @contextlib.contextmanager
    def sending(self) -> Iterator[bool]:
        """A lock for sending; False if another process is sending. Raises StoreError."""
        with self._locked(f"{self.path.name}.sending", 0.0) as has_lock:
            yield has_lock

    @contextlib.contextmanager
    def _locked(self, name: str, within: float) -> Iterator[bool]:
        """A lock released with its holder (flock); False if it could not be taken ``within`` seconds."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self.path.with_name(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE
            )
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be locked: {error.strerror or error}") from None
        try:
            yield _flock(descriptor, within)
        finally:
            os.close(descriptor)

    def _set_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.torn-{int(time.time())}")
        with contextlib.suppress(OSError):
            self.path.rename(aside)
            self.torn = aside
            torn_files = sorted(self.path.parent.glob(f"{self.path.name}.torn-*"))
            for old in torn_files[:-MAX_TORN_FILES]:
                old.unlink()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flock(descriptor: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True
