"""The names of backups: gte-ops-HOST-20261122T224500Z.tar.zst, with .age appended if it is encrypted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

Compression = Literal["zst", "gz"]

PARTIAL = ".partial"
CHECKSUM = ".sha256"
SIGNATURE = ".sig"
PIN = ".pin"
LABEL = ".label"
LOCK_NAME = ".gte-ops-backup.lock"
# Seconds by which the clock that named a backup may have been ahead of this one.
CLOCK_TOLERANCE = 3600.0
_NAME = re.compile(
    r"gte-ops-(?P<host>[A-Za-z0-9._-]{1,64})-(?P<time>\d{8}T\d{6})Z(?:-(?P<number>[2-9]|[1-9]\d{1,3}))?"
    r"\.tar\.(?P<compression>zst|gz)(?P<age>\.age)?",
    re.ASCII,
)


class ArchiveName(msgspec.Struct, frozen=True, order=True):
    """A parsed name of a backup; names sort by creation time. ``created_at`` is Unix time, ``number`` distinguishes
    backups of the same second."""

    created_at: float
    number: int
    host: str
    compression: Compression
    encrypted: bool

    def __str__(self) -> str:
        """The file's name."""
        time = datetime.fromtimestamp(self.created_at, UTC).strftime("%Y%m%dT%H%M%SZ")
        number = f"-{self.number}" if self.number > 1 else ""
        return f"gte-ops-{self.host}-{time}{number}.tar.{self.compression}{'.age' if self.encrypted else ''}"


def parse_name(name: str) -> ArchiveName | None:
    """The parsed ``name``; None if it is not a backup's, which includes partial files."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        time = datetime.fromisoformat(match["time"]).replace(tzinfo=UTC)
    except ValueError:
        return None
    if time.timestamp() < 0:  # strftime would not write such a year with four digits
        return None
    return ArchiveName(
        created_at=time.timestamp(),
        number=int(match["number"] or 1),
        host=match["host"],
        compression="zst" if match["compression"] == "zst" else "gz",
        encrypted=match["age"] is not None,
    )


def host_part(hostname: str) -> str:
    """A host's name in the form used in file names."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", hostname)[:64].strip("-.") or "host"


def checksum_path(archive: Path) -> Path:
    """The file beside ``archive`` that holds its SHA-256."""
    return archive.with_name(archive.name + CHECKSUM)


def signature_path(archive: Path) -> Path:
    """The file beside ``archive`` that holds its signature, if it is signed."""
    return archive.with_name(archive.name + SIGNATURE)


def companions(archive: Path) -> tuple[Path, ...]:
    """The files beside ``archive`` that belong to it, whether they exist or not."""
    return (checksum_path(archive), signature_path(archive), label_path(archive), pin_path(archive))


def pin_path(archive: Path) -> Path:
    """The file beside ``archive`` that keeps it from being pruned, if it exists."""
    return archive.with_name(archive.name + PIN)


def label_path(archive: Path) -> Path:
    """The file beside ``archive`` that holds its label, if it has one."""
    return archive.with_name(archive.name + LABEL)


def is_of_host(name: ArchiveName, hostname: str) -> bool:
    """Whether the backup is of the host ``hostname``, by its name."""
    return name.host == host_part(hostname)


def is_ahead(name: ArchiveName, now: float) -> bool:
    """Whether the backup claims to be made after ``now`` (Unix time): by a clock that was wrong, or a renamed file."""
    return name.created_at > now + CLOCK_TOLERANCE


def own_backups_in(directory: Path, hostname: str, now: float) -> list[tuple[ArchiveName, Path]]:
    """The finished backups of ``hostname`` in ``directory`` with a time that can be, the newest first. Raises
    OSError."""
    return [
        (name, path)
        for name, path in backups_in(directory)
        if is_of_host(name, hostname) and not is_ahead(name, now)
    ]


def backups_in(directory: Path) -> list[tuple[ArchiveName, Path]]:
    """The finished backups in ``directory``, the newest first. Raises OSError."""
    backups = []
    for path in directory.iterdir():
        name = parse_name(path.name)
        if name is not None and path.is_file() and not path.is_symlink():
            backups.append((name, path))
    return sorted(backups, reverse=True)


def left_over_in(directory: Path) -> list[Path]:
    """Files that killed runs left in ``directory``: partial files, checksums and signatures without their archive. Only
    files with a backup's name. Raises OSError."""
    names = {path.name for path in directory.iterdir()}
    paths = []
    for name in names:
        stem = name.removesuffix(PARTIAL)
        if name.endswith(PARTIAL):
            if parse_name(_archive_of(stem)) is not None:
                paths.append(directory / name)
        elif (archive := _archive_of(name)) != name and parse_name(archive) and archive not in names:
            paths.append(directory / name)
    return sorted(paths)


def _archive_of(name: str) -> str:
    for ending in (CHECKSUM, SIGNATURE, LABEL, PIN):
        name = name.removesuffix(ending)
    return name
