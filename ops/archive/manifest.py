"""The manifest of a backup: its contents, the requested paths that were missing, and the versions of the programs.

It is the archive's first member, so that a reader knows every size and name before the first of them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ops.files.entry_kind import EntryKind
from ops.text.sanitize import safe_line

SCHEMA_VERSION = 1
MANIFEST_NAME = "gte-ops-manifest.json"
MAX_MANIFEST_BYTES = 64 << 20
MAX_ENTRIES = 200_000
# Of all files together; no configuration is larger.
MAX_CONTENT_BYTES = 64 << 30
# Linux: PATH_MAX with its terminating zero.
MAX_PATH_BYTES = 4095
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """`gte-ops backup create` cannot have written this manifest."""


class ManifestEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file, directory or symbolic link.

    ``path`` is the host's, without the leading slash. ``owner`` and ``group`` are names if the host had any (else
    empty); ``modified_ns`` is mtime in nanoseconds of Unix time. Files alone have ``size`` (bytes) and ``sha256``
    (hex), links alone ``target`` as it is written in the link. ``whole``: everything in this directory is in the
    archive, so that any other file found there at a restore is newer.
    """

    path: str
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    owner: str = ""
    group: str = ""
    modified_ns: int
    size: int = 0
    sha256: str = ""
    target: str = ""
    whole: bool = False


class RequestedPath(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A path that was to be saved. ``what`` is the part it belongs to (nginx, certbot, gunicorn, unit, cron, logrotate,
    gte-ops, include, ...), ``path`` the host's path. ``missing``: why it is not in the archive, else empty."""

    what: str
    path: str
    missing: str = ""


class NginxUse(msgspec.Struct, frozen=True, kw_only=True):
    """How nginx was given its configuration, for ``nginx -t`` on the restored tree. Host paths."""

    binary: str
    config_file: str
    prefix: str


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate file and the file of its key, as nginx or certbot pairs them; paths as in the entries."""

    certificate: str
    key: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. ``created_at`` is Unix time; ``versions`` by program (gte-ops, python, nginx, gunicorn, certbot), as
    far as found; ``left_out``: files in the saved directories that were not saved (path to reason)."""

    schema_version: int = SCHEMA_VERSION
    created_at: float
    host: str
    versions: dict[str, str]
    asked: tuple[RequestedPath, ...]
    left_out: dict[str, str] = {}
    nginx: NginxUse | None = None
    letsencrypt_dir: str = ""
    pairs: tuple[Pair, ...] = ()
    entries: tuple[ManifestEntry, ...]

    @property
    def content_bytes(self) -> int:
        """The total size of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def missing(self) -> tuple[RequestedPath, ...]:
        """The requested paths that are not in the archive."""
        return tuple(request for request in self.asked if request.missing)


class _ManifestVersion(msgspec.Struct):
    schema_version: int


def encode(manifest: Manifest) -> bytes:
    """The manifest as written to the archive: JSON with one line for each entry, which is easy to read and to compare.

    Raises ManifestError if a name is not UTF-8."""
    try:
        return msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    except (UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise ManifestError(safe_line(f"it cannot be written: {error}")) from None


def decode(content: bytes) -> Manifest:
    """The parsed and checked manifest in ``content``. Raises ManifestError."""
    try:
        version = msgspec.json.decode(content, type=_ManifestVersion).schema_version
        if version != SCHEMA_VERSION:
            raise ManifestError(
                f"it was made by another version of gte-ops (schema_version {version}, this one reads {SCHEMA_VERSION})"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(safe_line(f"it cannot be read: {error}")) from None
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """Raises ManifestError unless every entry has a path of its own below the root, and no entry is below a file or a
    link: writing the entries in order then cannot write outside the root."""
    if len(manifest.entries) > MAX_ENTRIES:
        raise ManifestError(f"it lists {len(manifest.entries)} entries; at most {MAX_ENTRIES} are taken")
    kinds: dict[str, EntryKind] = {}
    total = 0
    for entry in manifest.entries:
        _check_path(entry.path)
        if entry.path in kinds:
            raise ManifestError(f"it lists {_shown(entry.path)} twice")
        parent = posixpath.dirname(entry.path)
        # Directories come before their contents, so it is enough to check the parent.
        if parent and kinds.get(parent) != EntryKind.DIRECTORY:
            instead = f"a {kinds[parent]}" if parent in kinds else "not among the directories before it"
            raise ManifestError(f"{_shown(entry.path)} would lie in {_shown(parent)}, which is {instead}")
        kinds[entry.path] = entry.kind
        _check_kind(entry)
        total += entry.size
    if total > MAX_CONTENT_BYTES:
        raise ManifestError(f"it promises {total} bytes; at most {MAX_CONTENT_BYTES} are taken")


def _check_path(path: str) -> None:
    if path.startswith("/"):
        raise ManifestError(f"{_shown(path)} is an absolute path")
    if ".." in path.split("/"):
        raise ManifestError(f"{_shown(path)} climbs out by '..'")
    if not path or path == "." or posixpath.normpath(path) != path or "\0" in path:
        raise ManifestError(f"{_shown(path)} is no plain path")
    if len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise ManifestError(f"{_shown(path)} is longer than {MAX_PATH_BYTES} bytes")
    if path == MANIFEST_NAME:
        raise ManifestError(f"it lists itself, {MANIFEST_NAME}")


def _check_kind(entry: ManifestEntry) -> None:
    display_path = _shown(entry.path)
    if not 0 <= entry.mode <= 0o7777:
        raise ManifestError(f"{display_path} has an impossible mode, {entry.mode}")
    if not (0 <= entry.uid < 1 << 32 and 0 <= entry.gid < 1 << 32):
        raise ManifestError(f"{display_path} has an impossible owner, {entry.uid}:{entry.gid}")
    # ext4 and XFS count to 2446 and 2486; no system call takes more than 64 bits of nanoseconds.
    if not -(1 << 62) < entry.modified_ns < 1 << 63:
        raise ManifestError(f"{display_path} has an impossible time")
    if entry.kind == EntryKind.FILE:
        if entry.size < 0 or not _DIGEST.fullmatch(entry.sha256) or entry.target:
            raise ManifestError(f"{display_path} has no size or no SHA-256")
        return
    if entry.size or entry.sha256:
        raise ManifestError(f"{display_path} is a {entry.kind} with content")
    if entry.kind == EntryKind.LINK:
        if (
            not entry.target
            or "\0" in entry.target
            or len(entry.target.encode("utf-8", "replace")) > MAX_PATH_BYTES
        ):
            raise ManifestError(f"{display_path} is a link to nowhere")
        if link_place(entry.path, entry.target) is None:
            raise ManifestError(
                f"{display_path} is a link that leads out of the root: {_shown(entry.target)}"
            )
    elif entry.target:
        raise ManifestError(f"{display_path} is a directory with a link's target")


def link_place(path: str, target: str) -> str | None:
    """The target of a link at ``path``, as a path below the root ('' for the root itself), computed from the text
    alone; an absolute target counts from the root. None if it leads above the root."""
    place = [] if target.startswith("/") else path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not place:
                return None
            place.pop()
        elif part not in ("", "."):
            place.append(part)
    return "/".join(place)


def resolve(path: str, entries: Mapping[str, ManifestEntry]) -> str | None:
    """The target of ``path`` when the archive's own links are followed; None above the root or in a cycle."""
    place: list[str] = []
    waiting = [part for part in reversed(path.split("/")) if part]
    hops = 0
    while waiting:
        part = waiting.pop()
        if part == ".":
            continue
        if part == "..":
            if not place:
                return None
            place.pop()
            continue
        here = "/".join((*place, part))
        entry = entries.get(here)
        if entry is None or entry.kind != EntryKind.LINK:
            place.append(part)
            continue
        hops += 1
        if hops > 40:  # Linux: MAXSYMLINKS
            return None
        if entry.target.startswith("/"):
            place.clear()
        waiting += [step for step in reversed(entry.target.split("/")) if step]
    return "/".join(place)


def loose_links(entries: Iterable[ManifestEntry]) -> Iterator[tuple[ManifestEntry, str]]:
    """Links whose target is not in the archive, each with the reason."""
    by_path = {entry.path: entry for entry in entries}
    for entry in by_path.values():
        if entry.kind != EntryKind.LINK:
            continue
        place = resolve(entry.path, by_path)
        if place is None:
            yield entry, "it leads round in a circle or out of the root"
        elif place and place not in by_path:
            yield entry, "its target is not in the archive"


def _shown(path: str) -> str:
    return safe_line(path, 200) or repr(path)
