"""The keys that a worker accepts: those in the file now."""

import hmac
import logging
import threading
from pathlib import Path

from service.keys.key_file import Key, KeyFileError, read, sha256_of

_log = logging.getLogger("service")

_Signature = tuple[int, int, int, int, int]


class Keyring:
    """The keys of one file, read again whenever the file has changed. Thread-safe.

    If the file becomes unusable, the keys read last stay valid, and the log says so once. If no file was ever usable,
    no key is accepted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._seen: _Signature | None = None
        self._was_gone = False
        self._lock = threading.Lock()

    def name_of(self, key: str) -> str | None:
        """The name of ``key``, or None if it is not accepted.

        The digest is compared with every stored one, each in constant time, so that the duration reveals nothing.
        """
        self._read_if_changed()
        digest = sha256_of(key)
        name = None
        for one in self._keys:
            if hmac.compare_digest(one.sha256, digest):
                name = one.name
        return name

    def _read_if_changed(self) -> None:
        signature = self._signature()
        if signature == self._seen and not (signature is None and not self._was_gone):
            return
        with self._lock:
            if signature is not None and signature == self._seen:
                return
            self._seen, self._was_gone = signature, signature is None
            try:
                self._keys = read(self._path)
            except KeyFileError as error:
                _log.error(
                    "API keys: %s: %s; the %d keys read before stay", self._path, error, len(self._keys)
                )
                return
            _log.info("API keys: %d read from %s", len(self._keys), self._path)
            if signature is not None and signature[4] & 0o077:
                _log.warning("API keys: %s has mode %o; 600 is expected", self._path, signature[4] & 0o777)

    def _signature(self) -> _Signature | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode
