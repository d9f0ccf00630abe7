"""A backup of any directory taken for a host's root, written by the real writer: what restoring is tested on."""

import grp
import hashlib
import os
import platform
import pwd
import stat
from pathlib import Path
from typing import Any

from ops.archive.checksum import checksum_line
from ops.archive.manifest import Manifest, ManifestEntry
from ops.archive.name import ArchiveName, checksum_path, host_part
from ops.archive.writing import compressed, tar_stream
from ops.backups.made_here import record

# The newest backup is one of this host's own.
HOST = host_part(platform.node())


def entry_of(root: Path, path: Path) -> ManifestEntry:
    """The manifest's entry for one path below ``root``."""
    status = path.lstat()
    kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
    content = path.read_bytes() if kind == "file" else b""
    return ManifestEntry(
        path=str(path.relative_to(root)),
        kind=kind,  # type: ignore[arg-type]
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        owner=pwd.getpwuid(status.st_uid).pw_name,
        group=grp.getgrgid(status.st_gid).gr_name,
        modified_ns=status.st_mtime_ns,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest() if kind == "file" else "",
        target=str(path.readlink()) if kind == "link" else "",
        whole=kind == "directory",
    )


def make_backup(
    root: Path,
    directory: Path,
    *,
    created_at: float = 1_700_000_000,
    only: tuple[str, ...] = ("",),
    **manifest: Any,
) -> Path:
    """A backup of what is below ``root`` (and below one of ``only``, with the directories above), in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    found: set[Path] = set()
    for place in (root / inside for inside in only):
        found.update(path for path in (place, *place.parents) if path != root and path.is_relative_to(root))
        found.update(place.rglob("*"))
    chosen = [entry_of(root, path) for path in sorted(found)]
    made = Manifest(
        created_at=created_at,
        host=HOST,
        versions={},
        entries=tuple(chosen),
        **{"letsencrypt_dir": "/etc/letsencrypt", "asked": (), **manifest},
    )
    name = ArchiveName(created_at, 1, HOST, "zst", encrypted=False)
    archive = directory / str(name)
    with archive.open("wb") as file:
        for chunk in compressed(tar_stream(made, lambda e: [(root / e.path).read_bytes()]), "zst"):
            file.write(chunk)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    checksum_path(archive).write_bytes(checksum_line(digest, archive.name))
    # In the directory of backups it counts as this host's own.
    record(directory, digest, archive.name)
    os.utime(archive, (created_at, created_at))
    return archive


def facts_of(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below ``root``, byte for byte, with modes and owners."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        mode = None if path.is_symlink() else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(root))] = (mode, status.st_uid, status.st_gid, content)
    return found
