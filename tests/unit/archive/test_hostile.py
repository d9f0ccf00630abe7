"""An archive that may be anybody's: each of these is refused, with one line that says why, and nothing is written."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import zstandard

from ops.archive import manifest as manifests
from ops.archive.error import ArchiveError
from ops.archive.manifest import ManifestEntry, ManifestError
from ops.archive.reading import open_archive
from tests.unit.archive.made_archive import (
    directory,
    file,
    forged,
    link,
    manifest,
    member,
    packed,
    read,
    sample,
)

ETC = directory("etc")
CONF = file("etc/a.conf", b"a")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([file("../etc/passwd", b"")], "climbs out"),
        ([ETC, file("etc/../../passwd", b"")], "climbs out"),
        ([file("/etc/passwd", b"")], "absolute path"),
        ([ETC, file("etc//passwd", b"")], "no plain path"),
        ([ETC, file("etc/./passwd", b"")], "no plain path"),
        ([file("", b"")], "no plain path"),
        ([file("a\0b", b"")], "no plain path"),
        ([ETC, ETC], "twice"),
        ([ETC, CONF, CONF], "twice"),
        ([ETC, link("etc/x", "/tmp"), file("etc/x/y", b"")], "which is a link"),
        ([ETC, CONF, file("etc/a.conf/b", b"")], "which is a file"),
        ([CONF], "not among the directories"),
        ([ETC, link("etc/x", "../../outside")], "leads out of the root"),
        ([ETC, link("etc/x", "")], "nowhere"),
        ([file("big", b"", size=1 << 40)], "promises"),
        ([file("a", b"", size=-1)], "no size"),
        ([file("a", b"", sha256="short")], "SHA-256"),
        ([file("a", b"", mode=0o777777)], "mode"),
        ([file("a", b"", uid=-1)], "owner"),
        ([file("a", b"", modified_ns=-(1 << 62))], "time"),
        ([file(manifests.MANIFEST_NAME, b"")], "itself"),
        ([file("a" * 5000, b"")], "longer"),
    ],
)
def test_a_manifest_of_such_entries_is_refused(
    tmp_path: Path, entries: list[ManifestEntry], why: str
) -> None:
    forgery = manifest(*entries)
    with pytest.raises(ManifestError, match=why):
        manifests.check(forgery)
    with pytest.raises(ArchiveError, match="manifest is refused"):
        read(forged(tmp_path / "x", forgery, []))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([], "in its manifest, but not in it"),
        ([member("etc", kind=tarfile.DIRTYPE)], "in its manifest, but not in it"),
        ([member("/etc/passwd", b"x")], "absolute path"),
        ([member("../etc/passwd", b"x")], "climbs out"),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/other", b"x")], "not in its manifest"),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc", kind=tarfile.DIRTYPE)], "twice"),
        ([member("etc/a.conf", b"a"), member("etc", kind=tarfile.DIRTYPE)], "not where it should stand"),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"b")], "damaged"),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"ab")], "size 2, not 1"),
        (
            [
                member("etc", kind=tarfile.DIRTYPE),
                member("etc/a.conf", kind=tarfile.SYMTYPE, target="/etc/shadow"),
            ],
            "kind link",
        ),
        (
            [
                member("etc", kind=tarfile.DIRTYPE),
                member("etc/a.conf", kind=tarfile.LNKTYPE, target="etc/shadow"),
            ],
            "a hard link",
        ),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", kind=tarfile.BLKTYPE)], "a block device"),
        (
            [member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", kind=tarfile.CHRTYPE)],
            "a character device",
        ),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", kind=tarfile.FIFOTYPE)], "a FIFO"),
        ([member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"a", kind=b"S")], "a sparse file"),
        (
            [member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"a"), member("etc/b", b"")],
            "not in its manifest",
        ),
        (
            [member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"a"), member("etc/a.conf", b"a")],
            "twice",
        ),
    ],
)
def test_members_that_differ_from_the_manifest_are_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], why: str
) -> None:
    path = forged(tmp_path / "x", manifest(ETC, CONF), members)
    with pytest.raises(ArchiveError, match=why) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "changes", [{"mode": 0o4755}, {"uid": 1000}, {"gid": 1000}], ids=["setuid", "owner", "group"]
)
def test_what_plain_tar_would_restore_is_what_the_manifest_says(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    info, content = member("etc/a.conf", b"a")
    for name, value in changes.items():
        setattr(info, name, value)
    path = forged(tmp_path / "x", manifest(ETC, CONF), [member("etc", kind=tarfile.DIRTYPE), (info, content)])
    with pytest.raises(ArchiveError, match=f"{next(iter(changes))} "):
        read(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "cannot be read"),
        (b'{"schema_version": 2}', "another version"),
        (b'{"schema_version": 1}', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(ArchiveError, match=why):
        read(forged(tmp_path / "x", content, []))


def test_without_a_manifest_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member("etc", kind=tarfile.DIRTYPE)[0])
    with pytest.raises(ArchiveError, match="no manifest"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"age-encryption.org/v2", b"\x1f", b"\x28\xb5\x2f"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        read(path)


def test_a_bomb_ends_where_the_manifest_ends(tmp_path: Path) -> None:
    """A gigabyte of zeros behind an entry of one byte: not a megabyte of it is unpacked."""
    head = forged(
        tmp_path / "head",
        manifest(ETC, CONF),
        [member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"a")],
    )
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(head.read_bytes())
    bomb = tmp_path / "bomb"
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    with bomb.open("wb") as out:
        out.write(compressor.compress(plain))
        for _ in range(1024):
            out.write(compressor.compress(bytes(1 << 20)))
        out.write(compressor.flush())
    with pytest.raises(ArchiveError, match="behind the archive's end"):
        read(bomb)


def test_an_extended_header_has_a_bound(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(ArchiveError, match="extended header of 1073741824 bytes"):
        read(forged(tmp_path / "x", manifest(ETC), [(info, b"")]))


@pytest.mark.parametrize("records", [b"nonsense", b"99 path=x\n", b"0 \n", b"11 weird=x\n", b"9 size=-1\n"])
def test_a_damaged_extended_header_is_refused(tmp_path: Path, records: bytes) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    path = forged(tmp_path / "x", manifest(ETC), [(info, records), member("etc", kind=tarfile.DIRTYPE)])
    with pytest.raises(ArchiveError, match=r"extended header|damaged size"):
        read(path)


def test_a_manifest_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo(manifests.MANIFEST_NAME)
    info.size = manifests.MAX_MANIFEST_BYTES + 1
    compressor = zstandard.ZstdCompressor()
    path = tmp_path / "x"
    path.write_bytes(compressor.compress(info.tobuf() + bytes(1 << 20)))
    with pytest.raises(ArchiveError, match="larger than 64 MiB"):
        read(path)


def test_a_window_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    archive = packed(tmp_path / "x", sample())
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    archive.write_bytes(compressor.compress(plain) + compressor.flush())
    with pytest.raises(ArchiveError, match="compression"):
        read(archive)


def test_what_the_caller_does_not_read_is_checked_all_the_same(tmp_path: Path) -> None:
    path = forged(
        tmp_path / "x", manifest(ETC, CONF), [member("etc", kind=tarfile.DIRTYPE), member("etc/a.conf", b"b")]
    )
    with open_archive(path) as archive, pytest.raises(ArchiveError, match="damaged"):
        list(archive.members())
