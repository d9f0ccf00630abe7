"""The store of baselines: the last distinct states, and the contents of their texts, each stored once.

    DIRECTORY/states/000012-a1b2c3d4e5f6.json   a state; its mtime: when the service was last healthy with it
    DIRECTORY/texts/<SHA-256>.z                 a file's content, compressed (zlib)
    DIRECTORY/marks.jsonl                       deployments that somebody marked

Only its owner may access the directory: it holds files with secrets, and anybody who could write here could make the
doctor report a wrong change. A state is written after its texts, so that a crash leaves no state without them.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ops.baselines.state import VERSION, Baseline, Mark
from ops.errors import OpsError
from ops.files.atomic_file import write_atomically
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.text.language import Text
from ops.text.reasons import reason, root_hint
from ops.text.sanitize import safe_line

# Number of states, and bytes of all texts: the changes of a few weeks.
MAX_STATES = 10
MAX_TEXT_BYTES = 4 << 20
MAX_STATE_BYTES = 4 << 20
# The largest text that is captured has this size.
MAX_TEXT = 256 << 10
MAX_MARKS = 200
_STATE_NAME = re.compile(r"(\d{6,12})-([0-9a-f]{12})\.json")


class BaselineError(OpsError):
    """A baseline cannot be read or written: path, reason and remedy."""


class Stored(msgspec.Struct, frozen=True):
    """One state of the store. ``number`` counts up; ``confirmed_at``: when the service was last healthy with it."""

    number: int
    id: str
    confirmed_at: float
    baseline: Baseline


class BaselineStore:
    """The store in ``directory``. Reading skips damaged states and does not raise for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._states = directory / "states"
        self._texts = directory / "texts"
        self._marks = directory / "marks.jsonl"

    # --- reading ------------------------------------------------------------------------------------------------

    def may_read(self) -> bool:
        """Whether the caller can read the states here, and only root and the caller can have written them."""
        return os.access(self._states, os.R_OK | os.X_OK) and self._distrust() is None

    def _distrust(self) -> str | None:
        return reason_not_to_trust(str(self._states), listed=True)

    def refuse_shared(self) -> None:
        """Raise BaselineError if others than root and the caller could put files here, or the caller may not look."""
        place = self.directory.absolute()
        try:
            while not place.exists() and place != place.parent:
                place = place.parent
        except PermissionError:
            raise unreadable(self.directory) from None
        why_not = reason_not_to_trust(str(place), listed=True)
        if why_not is None and self._states.exists():
            why_not = self._distrust()
        if why_not is not None:
            why = reason(why_not)
            raise BaselineError(
                Text(
                    en=f"{self.directory}: not used for baselines: {why.en}; give the watchdog's state a"
                    " directory of its own (watchdog.state_file), by default /var/lib/gte-ops",
                    zh=f"{self.directory}：不能存放基线：{why.to('zh')}；请让 watchdog 的状态文件"
                    "（watchdog.state_file）使用单独的目录，默认是 /var/lib/gte-ops",
                )
            )

    def names(self) -> list[tuple[int, str, Path]]:
        """Return number, id and path of every state, the oldest first. Raises PermissionError."""
        try:
            entries = sorted(entry.name for entry in os.scandir(self._states))
        except PermissionError:
            raise
        except OSError:  # it is not there, is no directory, or is a link that leads to itself
            return []
        matches = [(match, self._states / name) for name in entries if (match := _STATE_NAME.fullmatch(name))]
        return sorted((int(match[1]), match[2], path) for match, path in matches)

    def latest(self) -> Stored | None:
        """Return the newest readable state. Raises PermissionError."""
        for number, id_, path in reversed(self.names()):
            if (stored := self._read(number, id_, path)) is not None:
                return stored
        return None

    def all(self) -> list[Stored]:
        """Return every readable state, the newest first. Raises PermissionError."""
        read = (self._read(*name) for name in reversed(self.names()))
        return [stored for stored in read if stored is not None]

    def _read(self, number: int, id_: str, path: Path) -> Stored | None:
        try:
            file = read_regular_file(str(path), MAX_STATE_BYTES)
            baseline = msgspec.json.decode(file.content, type=Baseline)
        except PermissionError:
            raise
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
            return None
        return Stored(number, id_, file.modified, baseline) if baseline.version == VERSION else None

    def text(self, digest: str) -> bytes | None:
        """Return the content stored under ``digest``; None if it is missing or damaged."""
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            return None
        try:
            packed = read_regular_file(str(self._text_path(digest)), MAX_TEXT + 4096).content
            decompressor = zlib.decompressobj()
            return decompressor.decompress(packed, MAX_TEXT)
        except (OSError, ValueError, zlib.error):
            return None

    def _text_path(self, digest: str) -> Path:
        return self._texts / f"{digest}.z"

    def marks(self) -> list[Mark]:
        """Return the marked deployments, the oldest first."""
        try:
            lines = read_regular_file(str(self._marks), MAX_MARKS * 2000).content.splitlines()
        except (OSError, ValueError):
            return []
        marks = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                marks.append(msgspec.json.decode(line, type=Mark))
        return marks

    # --- writing ------------------------------------------------------------------------------------------------

    def may_write(self) -> bool:
        """Whether the caller already keeps baselines here, and only root and the caller can write here. A read-only run
        of the doctor does not create a store."""
        try:
            return self._states.is_dir() and os.access(self._states, os.W_OK) and self._distrust() is None
        except OSError:
            return False

    def record(self, baseline: Baseline, texts: Mapping[str, bytes]) -> Stored:
        """Make ``baseline`` the newest state; if it equals the newest by id, keep that one's number, time and author.

        ``texts``: contents by digest, of the files that are kept. Raises BaselineError."""
        self.refuse_shared()
        newest = self.latest()
        if newest is not None and newest.id == baseline.id:
            baseline = msgspec.structs.replace(
                baseline, taken_at=newest.baseline.taken_at, by=newest.baseline.by
            )
        number = newest.number if newest is not None and newest.id == baseline.id else self._next_number()
        path = self._states / f"{number:06d}-{baseline.id}.json"
        try:
            for directory in (self.directory, self._states, self._texts):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for digest, content in texts.items():
                if not self._text_path(digest).exists():
                    write_atomically(self._text_path(digest), zlib.compress(content, 6))
            write_atomically(path, msgspec.json.encode(baseline))
        except OSError as error:
            raise _unwritable(error.filename or str(path), error) from None
        self._prune()
        return Stored(number, baseline.id, time.time(), baseline)

    def confirm(self, stored: Stored) -> None:
        """Record that the service is healthy with this state now. Ignore a full or read-only file system."""
        with contextlib.suppress(OSError):
            os.utime(self._states / f"{stored.number:06d}-{stored.id}.json")

    def mark(self, mark: Mark) -> None:
        """Add a deployment. Raises BaselineError."""
        self.refuse_shared()
        marks = [*self.marks()[1 - MAX_MARKS :], mark]
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self._marks, b"".join(msgspec.json.encode(item) + b"\n" for item in marks))
        except OSError as error:
            raise _unwritable(str(self._marks), error) from None

    def _next_number(self) -> int:
        return max((number for number, _, _ in self.names()), default=0) + 1

    def _prune(self) -> None:
        """Delete the oldest states beyond the limits, unused texts, and temporary files of killed writers."""
        with contextlib.suppress(OSError):
            sizes = {entry.name.removesuffix(".z"): entry.stat().st_size for entry in os.scandir(self._texts)}
            digests: set[str] = set()
            for place, stored in enumerate(self.all()):
                needed = digests | {file.digest for file in stored.baseline.files.values() if file.is_kept}
                if place and (
                    place >= MAX_STATES or sum(sizes.get(name, 0) for name in needed) > MAX_TEXT_BYTES
                ):
                    for _, _, path in self.names()[: -place or None]:
                        path.unlink(missing_ok=True)
                    break
                digests = needed
            for name in sizes.keys() - digests:
                (self._texts / f"{name}.z").unlink(missing_ok=True)
                (self._texts / name).unlink(missing_ok=True)
            for leftover in self._states.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)


def unreadable(directory: Path) -> BaselineError:
    """The store may not be read by this user."""
    return BaselineError(
        Text(
            en=f"{directory}: permission denied; run it as root",
            zh=f"{directory}：权限不足；请以 root 运行",
        )
    )


def _unwritable(path: str, error: OSError) -> BaselineError:
    why = reason(error.strerror or str(error))
    hint = root_hint(error)
    return BaselineError(
        Text(
            en=safe_line(f"{path}: cannot be written: {why.en}{hint.en}"),
            zh=safe_line(f"{path}：无法写入：{why.to('zh')}{hint.zh}"),
        )
    )
