"""Reading a backup of unknown origin: nothing in it is trusted before it is checked, and memory use is constant.

    with open_archive(path, identities) as archive:
        archive.manifest
        for member in archive.members():
            for chunk in member.chunks(): ...

An archive that was read to its end without an error contains exactly what its manifest says. This module writes
nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from ops.archive import manifest as manifests
from ops.archive.encryption import Identity, decrypted
from ops.archive.error import ArchiveError
from ops.archive.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from ops.archive.name import Compression
from ops.files.entry_kind import EntryKind

CHUNK_BYTES = 1 << 18
# Extended headers hold a path or two; a larger one would only exhaust memory.
MAX_EXTENDED_BYTES = 64 << 10
# RFC 8878 asks every decoder for 8 MiB; the archives of writing.py need 2.
MAX_WINDOW_BYTES = 8 << 20
_KINDS = {
    tarfile.REGTYPE: EntryKind.FILE,
    tarfile.AREGTYPE: EntryKind.FILE,
    tarfile.DIRTYPE: EntryKind.DIRECTORY,
    tarfile.SYMTYPE: EntryKind.LINK,
}
_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.CONTTYPE: "a contiguous file",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
# gzip: ID1 ID2; zstd: the magic number, little-endian (RFC 8878 3.1.1); age: the first line.
_AGE_MAGIC = b"age-encryption.org/v1"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _MemberRefusedError(Exception):
    """Why the archive is refused, before the path is added."""


class Member(msgspec.Struct, frozen=True):
    """One entry of the archive. ``chunks`` is read once, before the next member; unread content is checked all the
    same."""

    entry: ManifestEntry
    _chunks: Iterator[bytes]

    def chunks(self) -> Iterator[bytes]:
        """The file's content in pieces; nothing for a directory or a link. Raises ArchiveError, at the latest after the
        last piece, if the content is not the manifest's."""
        return self._chunks


class Archive:
    """An open archive: its manifest, and a single pass over its members in the manifest's order."""

    def __init__(self, path: Path, stream: _Readable, *, encrypted: bool) -> None:
        """Read and check the manifest. Raises ArchiveError."""
        self.path = path
        self.encrypted = encrypted
        self._tar = _Tar(stream)
        with self._named():
            self.manifest: Manifest = self._read_manifest()

    def members(self) -> Iterator[Member]:
        """Every member, checked against the manifest; after the last one, that nothing follows.

        Raises ArchiveError."""
        earlier_paths: set[str] = set()
        listed_paths = None
        for entry in self.manifest.entries:
            with self._named():
                header = self._tar.next_header()
                if header is None:
                    raise _MemberRefusedError(f"{_shown(entry.path)} is in its manifest, but not in it")
                if header.path != entry.path:
                    listed_paths = listed_paths or {entry.path for entry in self.manifest.entries}
                    raise _MemberRefusedError(
                        _misplaced(header.path, earlier_paths, listed_paths, entry.path)
                    )
                _compare(header, entry)
            earlier_paths.add(entry.path)
            chunks = self._content(entry)
            yield Member(entry, chunks)
            for _ in chunks:
                pass  # content that the caller did not read is checked all the same
        with self._named():
            extra = self._tar.next_header()
            if extra is not None:
                raise _MemberRefusedError(_misplaced(extra.path, earlier_paths, earlier_paths, ""))
            self._tar.expect_end()

    def _content(self, entry: ManifestEntry) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with self._named():
            for chunk in self._tar.content(entry.size):
                digest.update(chunk)
                yield chunk
            if entry.kind == EntryKind.FILE and digest.hexdigest() != entry.sha256:
                raise _MemberRefusedError(
                    f"{_shown(entry.path)} is not the file its manifest describes: it is damaged"
                )

    def _read_manifest(self) -> Manifest:
        header = self._tar.next_header()
        if header is None or header.path != MANIFEST_NAME or header.kind != EntryKind.FILE:
            problem = "it is empty" if header is None else f"it begins with {_shown(header.path)}"
            raise _MemberRefusedError(f"it has no manifest: {problem} instead of {MANIFEST_NAME}")
        if header.size > manifests.MAX_MANIFEST_BYTES:
            raise _MemberRefusedError(f"its manifest is larger than {manifests.MAX_MANIFEST_BYTES >> 20} MiB")
        try:
            return manifests.decode(b"".join(self._tar.content(header.size)))
        except manifests.ManifestError as error:
            raise _MemberRefusedError(f"its manifest is refused: {error}") from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the archive's path to every reason for refusing it."""
        try:
            yield
        except _MemberRefusedError as error:
            raise ArchiveError(self.path, str(error)) from None
        except (OSError, EOFError, zlib.error) as error:
            # gzip reports damage as BadGzipFile, EOFError or zlib.error; an error of the disk has an errno.
            if isinstance(error, OSError) and error.errno is not None:
                raise ArchiveError(self.path, f"it cannot be read: {error.strerror}") from None
            raise ArchiveError(self.path, f"its compression is damaged: {error}") from None
        except _zstd_error() as error:
            raise ArchiveError(self.path, f"its compression is damaged: {error}") from None


def _zstd_error() -> type[Exception]:
    import zstandard

    error: type[Exception] = zstandard.ZstdError
    return error


@contextmanager
def open_archive(path: Path, identities: Sequence[Identity] = ()) -> Iterator[Archive]:
    """The archive at ``path``, with its manifest read and checked. Its first bytes decide its format, not its name.

    Raises LockedArchiveError if it is encrypted and none of ``identities`` opens it, ArchiveError if it is damaged or
    not a backup of this program."""
    with ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            magic = file.read(len(_AGE_MAGIC))
            file.seek(0)
        except OSError as error:
            raise ArchiveError(path, f"it cannot be read: {error.strerror or error}") from None
        stream: Any = file
        encrypted = magic == _AGE_MAGIC
        if encrypted:
            stream = stack.enter_context(decrypted(file, identities, str(path)))  # type: ignore[arg-type]
            stream = _Peeked(stream)
            magic = stream.peek(len(_ZSTD_MAGIC))
        yield Archive(path, _decompressed(stream, _compression(magic, path)), encrypted=encrypted)


def _compression(magic: bytes, path: Path) -> Compression:
    if magic.startswith(_ZSTD_MAGIC):
        return "zst"
    if magic.startswith(_GZIP_MAGIC):
        return "gz"
    raise ArchiveError(
        path, "it is empty" if not magic else "it is neither zstd, gzip nor age: not a backup of gte-ops"
    )


def _decompressed(stream: _Readable, compression: Compression) -> _Readable:
    if compression == "gz":
        return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[call-overload, no-any-return]
    import zstandard

    reader: _Readable = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
        stream,  # type: ignore[arg-type]
        read_size=CHUNK_BYTES,
        # So that data after the frame is detected instead of ignored.
        read_across_frames=True,
    )
    return reader


class _Peeked:
    """A stream whose first bytes can be inspected before they are read."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._first = b""

    def peek(self, size: int) -> bytes:
        self._first = self._stream.read(size)
        return self._first

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._stream.read(size)
        piece, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
        return piece


# --- tar -----------------------------------------------------------------------------------------------------


class _Header(msgspec.Struct, frozen=True):
    path: str
    kind: EntryKind
    size: int
    target: str
    mode: int
    uid: int
    gid: int


class _Tar:
    """The members of a pax tar, strictly: regular files, directories and symbolic links, and extended headers of a
    bounded size. The standard library's reader accepts more than that, and extended headers of any size."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._padding = 0

    def next_header(self) -> _Header | None:
        """The next member; None at the archive's end mark."""
        self._skip_padding()
        extended: dict[str, str] = {}
        while True:
            block = self._exactly(tarfile.BLOCKSIZE)
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                if extended:
                    raise _MemberRefusedError("an extended header has no member behind it") from None
                return None
            except tarfile.HeaderError as error:
                raise _MemberRefusedError(f"a tar header is damaged: {error}") from None
            if info.type == tarfile.XHDTYPE and not extended:
                if info.size > MAX_EXTENDED_BYTES:
                    raise _MemberRefusedError(f"an extended header of {info.size} bytes is refused")
                extended = _pax_records(self._exactly(info.size))
                self._padding = -info.size % tarfile.BLOCKSIZE
                self._skip_padding()
                continue
            return _header(info, extended)

    def content(self, size: int) -> Iterator[bytes]:
        """The ``size`` bytes after the header."""
        self._padding = -size % tarfile.BLOCKSIZE
        remaining = size
        while remaining:
            chunk = self._stream.read(min(remaining, CHUNK_BYTES))
            if not chunk:
                raise _MemberRefusedError("it is cut off")
            remaining -= len(chunk)
            yield chunk

    def expect_end(self) -> None:
        """Raises unless only one more block of zeros (or padding up to tar's record size) follows."""
        tail = b""
        while len(tail) <= tarfile.RECORDSIZE:
            chunk = self._stream.read(tarfile.RECORDSIZE + 1 - len(tail))
            if not chunk:
                break
            tail += chunk
        if len(tail) < tarfile.BLOCKSIZE:
            raise _MemberRefusedError("it is cut off")
        if len(tail) > tarfile.RECORDSIZE or tail.strip(b"\0"):
            raise _MemberRefusedError("there is something behind the archive's end")

    def _skip_padding(self) -> None:
        if self._exactly(self._padding).strip(b"\0"):
            raise _MemberRefusedError("there is something between two members")
        self._padding = 0

    def _exactly(self, size: int) -> bytes:
        parts, remaining = [], size
        while remaining:
            chunk = self._stream.read(remaining)
            if not chunk:
                raise _MemberRefusedError("it is cut off")
            parts.append(chunk)
            remaining -= len(chunk)
        return b"".join(parts)


def _pax_records(content: bytes) -> dict[str, str]:
    """The records of an extended header: ``LENGTH key=value\\n`` each (POSIX.1-2008, pax, Extended Header)."""
    records: dict[str, str] = {}
    while content:
        length, blank, _ = content.partition(b" ")
        if not (blank and length.isdigit() and len(length) <= 6):
            raise _MemberRefusedError("an extended header is damaged")
        record, content = content[: int(length)], content[int(length) :]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        if (
            not (equals and value.endswith(b"\n") and len(record) == int(length))
            or key.decode("ascii", "replace") in records
        ):
            raise _MemberRefusedError("an extended header is damaged")
        records[key.decode("ascii", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
    return records


def _header(info: tarfile.TarInfo, extended: dict[str, str]) -> _Header:
    path = extended.pop("path", info.name)
    display_path = _shown(path)
    kind = _KINDS.get(info.type)
    if kind is None:
        what = _REFUSED.get(info.type, f"an entry of type {info.type!r}")
        raise _MemberRefusedError(
            f"{display_path} is {what}; only files, directories and symbolic links are taken"
        )
    target = extended.pop("linkpath", info.linkname)
    numbers = {"size": info.size, "uid": info.uid, "gid": info.gid}
    for name in numbers:
        digits = extended.pop(name, None)
        if digits is not None:
            if not (digits.isdecimal() and digits.isascii() and len(digits) < 20):
                raise _MemberRefusedError(f"{display_path} has a damaged {name}")
            numbers[name] = int(digits)
    for name in ("mtime", "uname", "gname"):
        extended.pop(name, None)
    if extended:
        raise _MemberRefusedError(
            f"{display_path} has an extended header of an unknown kind, {_shown(next(iter(extended)))}"
        )
    if kind != EntryKind.FILE and numbers["size"]:
        raise _MemberRefusedError(f"{display_path} is a {kind} with content")
    return _Header(
        path=path.removesuffix("/") if kind == EntryKind.DIRECTORY else path,
        kind=kind,
        size=numbers["size"],
        target=target if kind == EntryKind.LINK else "",
        mode=info.mode,
        uid=numbers["uid"],
        gid=numbers["gid"],
    )


def _compare(header: _Header, entry: ManifestEntry) -> None:
    """Raises unless an ordinary tar would restore the same as the manifest says."""
    for name in ("kind", "size", "target", "mode", "uid", "gid"):
        here, promised = getattr(header, name), getattr(entry, name)
        if here != promised:
            raise _MemberRefusedError(
                f"{_shown(entry.path)} is not what its manifest says: {name} {_shown(str(here))},"
                f" not {_shown(str(promised))}"
            )


def _misplaced(path: str, earlier_paths: set[str], listed_paths: set[str], expected: str) -> str:
    display_path = _shown(path)
    if path in earlier_paths:
        return f"{display_path} is in it twice"
    if path.startswith("/"):
        return f"{display_path} is an absolute path"
    if ".." in path.split("/"):
        return f"{display_path} climbs out by '..'"
    if path in listed_paths:
        return f"{_shown(expected)} is in its manifest, but not where it should stand: {display_path} stands there"
    return f"{display_path} is in it, but not in its manifest"


def _shown(words: str) -> str:
    from ops.text.sanitize import safe_line

    return safe_line(words, 200) or repr(words)
