"""A backup in a directory is judged in the reader's language."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.archive.checksum import checksum_line
from ops.archive.listing import judge
from ops.archive.name import checksum_path
from tests.unit.archive.made_archive import packed, sample

OTHER = "0" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return packed(tmp_path / "gte-ops-web1-20261130T120000Z.tar.zst", sample())


@pytest.mark.parametrize(
    ("line", "english", "chinese"),
    [
        (
            checksum_line(OTHER, "{name}"),
            "its SHA-256 is not the one",
            "SHA-256 与旁边记录的不一致：文件已损坏",
        ),
        (checksum_line(OTHER, "other.tar"), "is that of another file", "是另一个文件的校验和"),
        (b"nothing\n", "is not a line of sha256sum", "不是 sha256sum 的格式：已损坏"),
    ],
)
def test_a_checksum_that_does_not_fit_is_said_in_both_languages(
    archive: Path, line: bytes, english: str, chinese: str
) -> None:
    checksum_path(archive).write_bytes(line.replace(b"{name}", archive.name.encode()))
    good, judgement = judge(archive, encrypted=False)
    assert good is False
    assert english in judgement.en
    assert chinese in judgement.to("zh")


def test_what_is_no_archive_is_said_in_both_languages(archive: Path) -> None:
    archive.write_bytes(b"no archive")
    good, judgement = judge(archive, encrypted=False)
    assert good is False
    assert judgement.en == "it is neither zstd, gzip nor age: not a backup of gte-ops"
    assert judgement.to("zh") == "无法使用：既不是 zstd、gzip 也不是 age，不是 gte-ops 的备份"
