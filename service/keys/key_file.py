"""The file of API keys: a name, a hash and a date for each; the key itself is not stored.

The hash is one SHA-256 without salt. Salts and slow hashes protect passwords that people choose, because those can be
guessed; a key here is 256 random bits (``secrets``), which no table contains and no search finds.
The file is one JSON document, so that a torn file is never mistaken for a shorter list.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.http.strict_json import JsonError, parse

_PREFIX = "gte_"  # identifies a key to secret scanners and people
_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_BYTES = 4 * 1024 * 1024


class KeyFileError(Exception):
    """The file cannot be used; the message is one line without the path."""


@dataclass(frozen=True)
class Key:
    """The stored form of a key. ``created``: ISO 8601, UTC."""

    name: str
    sha256: str
    created: str


def sha256_of(key: str) -> str:
    """The hash of ``key`` as stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key(name: str) -> tuple[str, Key]:
    """A new key, and its stored form.

    Raises:
        KeyFileError: the name is not 1 to 64 ASCII letters, digits, ``.``, ``_`` or ``-``.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            "a name is 1 to 64 letters, digits, '.', '_' or '-', and begins with one of the first two"
        )
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, Key(name, sha256_of(key), datetime.now(UTC).isoformat(timespec="seconds"))


def add(path: Path, name: str) -> str:
    """Add a new key named ``name`` to the file, which is created if it does not exist, and return the key.

    Raises:
        KeyFileError: the file cannot be used, or the name is taken or malformed.
    """
    with _changing(path):
        keys = read(path) if os.path.lexists(path) else ()
        if any(key.name == name for key in keys):
            raise KeyFileError(f"there is a key named {name}: revoke it first, or take another name")
        key, stored = new_key(name)
        write(path, (*keys, stored))
    return key


def remove(path: Path, name: str) -> None:
    """Remove the key named ``name`` from the file.

    Raises:
        KeyFileError: the file cannot be used, or holds no key of this name.
    """
    with _changing(path):
        keys = read(path)
        others = tuple(key for key in keys if key.name != name)
        if len(others) == len(keys):
            raise KeyFileError(f"there is no key named {name!a}")
        write(path, others)


def read(path: Path) -> tuple[Key, ...]:
    """The keys in ``path``; there may be none.

    Raises:
        KeyFileError: it cannot be read, is not a complete file of keys, or others than its owner can write to it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError("it is no regular file")
            if status.st_mode & 0o022:
                raise KeyFileError("others than its owner may write to it: chmod 600")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileError(error.strerror or type(error).__name__) from None
    if len(content) > _MOST_BYTES:
        raise KeyFileError(f"it is larger than {_MOST_BYTES} bytes")
    return _keys_in(content)


def _keys_in(content: bytes) -> tuple[Key, ...]:
    try:
        members = parse(content)
    except JsonError as error:
        raise KeyFileError(f"it is not JSON: {error}") from None
    entries = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise KeyFileError('it is no object with a list "keys"')
    keys = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(member), str) for member in ("name", "sha256", "created")
        ):
            raise KeyFileError(f'entry {number} lacks "name", "sha256" or "created"')
        if not _NAME.fullmatch(entry["name"]) or not _SHA256.fullmatch(entry["sha256"]):
            raise KeyFileError(f"the name or the hash of entry {number} is malformed")
        keys.append(Key(entry["name"], entry["sha256"], entry["created"]))
    if len({key.name for key in keys}) != len(keys):
        raise KeyFileError("a name stands twice")
    return tuple(keys)


def write(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file's content by ``keys`` atomically, mode 0600, with the previous owner.

    Raises:
        KeyFileError: it could not be written; the old file remains.
    """
    content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1).encode() + b"\n"
    temporary: Path | None = None
    try:
        before = path.stat() if path.exists() else None
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise KeyFileError(f"it could not be written: {error.strerror}") from None


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    # Lock the directory, because each change replaces the file.
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"its directory: {error.strerror}") from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
