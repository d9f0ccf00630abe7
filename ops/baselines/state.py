"""One state of the host: every file that the doctor reads, and further values. Plain data."""

from __future__ import annotations

import hashlib

import msgspec

from ops.facts.changes import PlaceKind

VERSION = 1


class FileState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file. Times in nanoseconds; ``inode`` distinguishes a file from one that replaced it.

    ``link``: the real path, if ``path`` contains a link; ``digest``: SHA-256 of the content, or of a large file's
    beginning, size and end; ``is_kept``: the store holds the content itself under that digest."""

    place: PlaceKind
    size: int
    mtime: int
    ctime: int
    inode: int
    mode: int
    uid: int
    gid: int
    link: str = ""
    digest: str = ""
    is_kept: bool = False

    @property
    def signature(self) -> tuple[object, ...]:
        """The values that change if the file is written, replaced, or given another owner (inode(7))."""
        return (self.size, self.mtime, self.ctime, self.inode, self.mode, self.uid, self.gid, self.link)

    @property
    def meaning(self) -> tuple[object, ...]:
        """The values that count as a change if they differ; touching a file does not alter them."""
        return (self.place, self.digest, self.mode, self.uid, self.gid, self.link)


class Ordinary(msgspec.Struct, frozen=True):
    """The usual values here: one-minute load, seconds that /health and a prediction took; None if not seen."""

    load: float | None = None
    health_seconds: float | None = None
    predict_seconds: float | None = None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A state, the time of its recording (Unix seconds) and its author.

    ``looked_at``: when the files were last inspected; ``values``: by place and name; ``directories``: times of the
    directories in which a new file is a change."""

    version: int = VERSION
    made_by: str
    taken_at: float
    looked_at: float
    by: str
    files: dict[str, FileState]
    values: dict[PlaceKind, dict[str, str]]
    directories: dict[str, int] = msgspec.field(default_factory=dict)
    ordinary: Ordinary = Ordinary()

    @property
    def id(self) -> str:
        """A hash of the content; equal for states that differ in no file's ``meaning`` and no value."""
        content = (
            sorted((path, *file.meaning) for path, file in self.files.items()),
            sorted((kind, sorted(values.items())) for kind, values in self.values.items()),
        )
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


class Mark(msgspec.Struct, frozen=True):
    """A deployment that a pipeline or a person marked. ``by``: the user."""

    time: float
    text: str = ""
    by: str = ""
