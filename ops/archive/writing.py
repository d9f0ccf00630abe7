"""A backup's bytes: a pax tar (POSIX.1-2008, pax) with the manifest first, compressed; then encrypted or not.

Everything is a stream of chunks, pulled by the writer, so that memory use is constant.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator

from ops.archive import manifest as manifests
from ops.archive.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from ops.archive.name import Compression
from ops.files.entry_kind import EntryKind

CHUNK_BYTES = 1 << 18
ZSTD_LEVEL = 3
JOB_BYTES = 1 << 20
GZIP_LEVEL = 6
_TYPES = {
    EntryKind.FILE: tarfile.REGTYPE,
    EntryKind.DIRECTORY: tarfile.DIRTYPE,
    EntryKind.LINK: tarfile.SYMTYPE,
}


def tar_stream(manifest: Manifest, content_of: Callable[[ManifestEntry], Iterable[bytes]]) -> Iterator[bytes]:
    """The uncompressed archive. ``content_of`` gives a file's content, exactly ``entry.size`` bytes of it.

    Raises what ``content_of`` raises; ManifestError for a manifest that no reader would accept."""
    manifests.check(manifest)
    encoded = manifests.encode(manifest)
    if len(encoded) > manifests.MAX_MANIFEST_BYTES:
        raise manifests.ManifestError(f"it would be larger than {manifests.MAX_MANIFEST_BYTES >> 20} MiB")
    yield _header(_manifest_entry(manifest, len(encoded)))
    yield encoded
    yield _padding(len(encoded))
    for entry in manifest.entries:
        yield _header(entry)
        if entry.kind == EntryKind.FILE:
            yield from content_of(entry)
            yield _padding(entry.size)
    # Two blocks of zeros end an archive.
    yield bytes(2 * tarfile.BLOCKSIZE)


def _manifest_entry(manifest: Manifest, size: int) -> ManifestEntry:
    return ManifestEntry(
        path=MANIFEST_NAME,
        kind=EntryKind.FILE,
        mode=0o600,
        uid=0,
        gid=0,
        modified_ns=int(manifest.created_at * 1e9),
        size=size,
    )


def _header(entry: ManifestEntry) -> bytes:
    info = tarfile.TarInfo(entry.path)
    info.type = _TYPES[entry.kind]
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.uname, info.gname = entry.owner, entry.group
    info.mtime = entry.modified_ns // 1_000_000_000
    info.size = entry.size
    info.linkname = entry.target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def compressed(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """``chunks`` as one zstd frame with its checksum (RFC 8878), or one gzip member (RFC 1952)."""
    return _zstd(_gathered(chunks)) if compression == "zst" else _gzip(_gathered(chunks))


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger pieces: ten thousand small files would otherwise take forty thousand calls."""
    waiting, size = [], 0
    for chunk in chunks:
        if not chunk:
            continue
        waiting.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    import zstandard

    # The window is far below the reader's limit; two threads, because hashing is a third. Without a job size they take
    # 80 MB more (measured), for a result that is 0.1 % smaller.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        ZSTD_LEVEL, threads=2, job_size=JOB_BYTES, write_checksum=True, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    for chunk in chunks:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    for chunk in chunks:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()
