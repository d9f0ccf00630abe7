"""scripts/commit-subject lets a subject through that `git log --oneline` shows whole, and no other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "commit-subject"


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Backups keep ACLs\n", None),
        ("Backups keep ACLs\n\nWhat tar leaves out is written beside it.\n", None),
        ("\n# a comment\nBackups keep ACLs\n# another\n", None),
        ("é" * 72 + "\n", None),
        ("é" * 73 + "\n", "73 characters"),
        ("fixup! " + "a" * 80, None),
        ("Backups keep ACLs.\n", "full stop"),
        ("Backups keep ACLs\nand more\n", "the line below"),
        ("# nothing\n\n", "empty"),
    ],
)
def test_a_subject_is_taken_or_refused(tmp_path: Path, message: str, fault: str | None) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message, encoding="utf-8")
    ran = subprocess.run([SCRIPT, file], capture_output=True, text=True, timeout=30, check=False)
    if fault is None:
        assert (ran.returncode, ran.stderr) == (0, "")
    else:
        assert ran.returncode == 1
        assert fault in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
