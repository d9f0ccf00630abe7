"""Archives made in memory, good ones and bad ones."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ops.archive import manifest as manifests
from ops.archive.manifest import MANIFEST_NAME, Manifest, ManifestEntry
from ops.archive.reading import open_archive
from ops.archive.writing import compressed, tar_stream
from ops.files.entry_kind import EntryKind

CREATED = 1_795_300_000.0


def file(path: str, content: bytes, **changes: object) -> ManifestEntry:
    """A plain file's entry."""
    entry = ManifestEntry(
        path=path,
        kind=EntryKind.FILE,
        mode=0o644,
        uid=0,
        gid=0,
        owner="root",
        group="root",
        modified_ns=1_700_000_000_123_456_789,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return msgspec.structs.replace(entry, **changes)


def directory(path: str, **changes: object) -> ManifestEntry:
    """A directory's entry."""
    entry = ManifestEntry(
        path=path, kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, modified_ns=1_700_000_000 * 10**9
    )
    return msgspec.structs.replace(entry, **changes)


def link(path: str, target: str) -> ManifestEntry:
    """A symbolic link's entry."""
    return ManifestEntry(
        path=path,
        kind=EntryKind.LINK,
        mode=0o777,
        uid=0,
        gid=0,
        modified_ns=1_700_000_000 * 10**9,
        target=target,
    )


def manifest(*entries: ManifestEntry) -> Manifest:
    """A manifest of these entries."""
    return Manifest(
        created_at=CREATED, host="lab", versions={"gte-ops": "0.1.0"}, asked=(), entries=tuple(entries)
    )


CONTENTS = {
    "etc/nginx/nginx.conf": b"events {}\nhttp {}\n",
    "etc/nginx/empty.conf": b"",
    "etc/letsencrypt/archive/a/privkey1.pem": b"a key" * 200_000,
    "etc/nginx/" + "n" * 150 + ".conf": b"# a long name\n",
    "etc/nginx/说明.txt": "配置说明\n".encode(),
}


def sample() -> Manifest:
    """A small host: plain files, an empty one, one of 1 MB, a long name, a Chinese one, and links."""
    nginx = [p for p in CONTENTS if p.startswith("etc/nginx")]
    return manifest(
        directory("etc"),
        directory("etc/nginx", mode=0o2755, uid=33, gid=33),
        *(file(path, CONTENTS[path]) for path in nginx),
        directory("etc/letsencrypt"),
        directory("etc/letsencrypt/archive", mode=0o700),
        directory("etc/letsencrypt/archive/a", whole=True),
        file(
            "etc/letsencrypt/archive/a/privkey1.pem",
            CONTENTS["etc/letsencrypt/archive/a/privkey1.pem"],
            mode=0o600,
        ),
        directory("etc/letsencrypt/live"),
        directory("etc/letsencrypt/live/a"),
        link("etc/letsencrypt/live/a/privkey.pem", "../../archive/a/privkey1.pem"),
    )


def packed(
    path: Path, made: Manifest, contents: Mapping[str, bytes] = CONTENTS, compression: str = "zst"
) -> Path:
    """``made`` written by the program's own writer."""
    chunks = tar_stream(made, lambda entry: [contents[entry.path]])
    path.write_bytes(b"".join(compressed(chunks, compression)))  # type: ignore[arg-type]
    return path


def forged(path: Path, made: Manifest | bytes, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Any members behind any manifest: what the program's writer would never write."""
    encoded = made if isinstance(made, bytes) else manifests.encode(made)
    head = tarfile.TarInfo(MANIFEST_NAME)
    head.size = len(encoded)

    def chunks() -> Iterator[bytes]:
        for info, content in ((head, encoded), *members):
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield content
            yield bytes(-len(content) % 512)
        yield bytes(1024)

    path.write_bytes(b"".join(compressed(chunks(), "zst")))
    return path


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """One member for `forged`; its header says what `file`, `directory` and `link` say."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    info.mode = {tarfile.DIRTYPE: 0o755, tarfile.SYMTYPE: 0o777}.get(kind, 0o644)
    return info, content


def read(path: Path, identities: tuple[object, ...] = ()) -> dict[str, bytes]:
    """Every file of the archive, read through to its end."""
    with open_archive(path, identities) as archive:
        return {
            m.entry.path: b"".join(m.chunks()) for m in archive.members() if m.entry.kind == EntryKind.FILE
        }
