"""What a restore says it would change, in both languages."""

from __future__ import annotations

import pytest

from ops.archive.manifest import ManifestEntry
from ops.backups.restore.plan import Difference, Owners, PathDifference, words_of
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import FileEntry

OWNERS = Owners({}, {}, may_set=False)


@pytest.mark.parametrize(
    ("present", "en", "zh"),
    [
        (EntryKind.FILE, "is a file and will be a directory", "现为文件，将变为目录"),
        (EntryKind.LINK, "is a link and will be a directory", "现为链接，将变为目录"),
        (
            None,
            "is a device, a socket or a pipe and will be a directory",
            "现为设备、socket 或管道，将变为目录",
        ),
    ],
)
def test_another_kind_of_entry_is_named_in_the_language_of_the_report(
    present: EntryKind | None, en: str, zh: str
) -> None:
    entry = ManifestEntry(path="etc", kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, modified_ns=0)
    before = FileEntry(present, 0o644, 0, 0, 0, 0, 1, 1)
    words = words_of(PathDifference("etc", Difference.KIND, entry, before), OWNERS)
    assert (words.en, words.zh) == (en, zh)
