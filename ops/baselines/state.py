"""One state of the host: every file that the doctor reads, and the values beside them. Plain data."""

from __future__ import annotations

import hashlib

import msgspec

from ops.facts.changes import PlaceKind

VERSION = 1


class FileState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file. Times in nanoseconds; ``inode`` tells a file from one that took its name.

    ``link``: where the path really leads, if a link is on the way to it; ``digest``: SHA-256 of the content, or of the
    beginning of a large file, with the size; ``is_kept``: the content itself is in the store under that digest."""

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
        """What changes when somebody writes, replaces, or gives away the file (inode(7))."""
        return (self.size, self.mtime, self.ctime, self.inode, self.mode, self.uid, self.gid, self.link)

    @property
    def meaning(self) -> tuple[object, ...]:
        """What makes a difference: a file that was only touched has the same."""
        return (self.place, self.digest, self.mode, self.uid, self.gid, self.link)


class Ordinary(msgspec.Struct, frozen=True):
    """What is usual here: load of one minute, seconds that /health and a prediction took; None if not seen."""

    load: float | None = None
    health_seconds: float | None = None
    predict_seconds: float | None = None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A state, when it was recorded (Unix seconds) and by whom.

    ``looked_at``: when the files were looked at last; ``values``: by place and name; ``directories``: times of the
    directories in which a new file would count."""

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
        """The same for states that mean the same."""
        content = (
            sorted((path, *file.meaning) for path, file in self.files.items()),
            sorted((kind, sorted(values.items())) for kind, values in self.values.items()),
        )
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


class Mark(msgspec.Struct, frozen=True):
    """A deployment that a pipeline or a person has marked. ``by``: the user."""

    time: float
    text: str = ""
    by: str = ""
