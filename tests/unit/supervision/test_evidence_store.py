"""The evidence stays within its bounds, and what is torn by a full disk or a hostile name does no harm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ops.supervision import evidence_store
from ops.supervision.evidence_store import (
    MAX_DIRECTORIES,
    MAX_FILE_BYTES,
    MAX_TOTAL_BYTES,
    TAIL_BYTES,
    EvidenceDirectory,
    directory_name,
)


def named(root: Path) -> list[str]:
    return sorted(directory.name for directory in root.iterdir())


def size(root: Path) -> int:
    return sum(file.stat().st_size for file in root.glob("*/*"))


def test_twenty_directories_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    root = tmp_path / "evidence"
    for minute in range(MAX_DIRECTORIES + 15):
        EvidenceDirectory(root, f"20261122T{minute:06}-worker_hung").put("look.json", "{}")
    assert MAX_DIRECTORIES == 20
    assert len(named(root)) == MAX_DIRECTORIES
    assert named(root)[0] == "20261122T000015-worker_hung"
    assert named(root)[-1] == "20261122T000034-worker_hung"


def test_fifty_megabytes_are_kept_and_the_newest_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (MAX_TOTAL_BYTES, MAX_FILE_BYTES) == (50 << 20, 1 << 20)
    # A tenth of both: redacting a hundred megabytes takes twenty seconds.
    total, each = MAX_TOTAL_BYTES // 10, MAX_FILE_BYTES // 10
    monkeypatch.setattr(evidence_store, "MAX_TOTAL_BYTES", total)
    monkeypatch.setattr(evidence_store, "MAX_FILE_BYTES", each)
    root = tmp_path / "evidence"
    for minute in range(8):
        piece = EvidenceDirectory(root, f"20261122T{minute:06}-worker_hung")
        for number in range(9):
            piece.put(f"log-{number}.txt", "x" * (2 * each))
    EvidenceDirectory(root, "20261122T999999-worker_hung").put("look.json", "{}")
    assert total // 2 < size(root) <= total
    assert named(root)[-1] == "20261122T999999-worker_hung"
    assert len(named(root)) > 3, "no more went than had to"


def test_one_file_and_one_log_tail_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.write_text("old\n" * MAX_FILE_BYTES + "the end\n")
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put("stacks.txt", "x" * (3 * MAX_FILE_BYTES))
    piece.put_log_tails([(str(log), None)])
    assert (piece.path / "stacks.txt").stat().st_size == MAX_FILE_BYTES
    tail = (piece.path / "log-1.txt").read_text()
    assert len(tail) < TAIL_BYTES + 200
    assert tail.rstrip().endswith("the end")


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put("look.json", "{}")
    assert [path.stat().st_mode & 0o777 for path in (piece.path.parent, piece.path)] == [0o700, 0o700]
    assert (piece.path / "look.json").stat().st_mode & 0o777 == 0o600


def test_two_troubles_in_one_second_have_two_directories(tmp_path: Path) -> None:
    first = directory_name(1_800_000_000.0, "worker_hung", tmp_path)
    (tmp_path / first).mkdir()
    assert directory_name(1_800_000_000.0, "worker_hung", tmp_path) == f"{first}-2"


def test_a_symbolic_link_is_neither_followed_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_store, "MAX_DIRECTORIES", 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    root = tmp_path / "evidence"
    root.mkdir()
    (root / "00000000").symlink_to(outside)
    for name in ("1", "2", "3"):
        EvidenceDirectory(root, name).put("look.json", "{}")
    assert (outside / "kept").exists()
    assert named(root) == ["00000000", "3"]
    (root / "3" / "proc.txt").symlink_to(outside / "kept")
    EvidenceDirectory(root, "3").put("proc.txt", "overwritten")
    assert (outside / "kept").read_text() == ""


def test_where_it_cannot_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "evidence").touch()
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put("look.json", "{}")
    piece.put_processes([os.getpid()])
    piece.start_doctor(None)
    assert piece.causes() == ()


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "missing", "link to itself"])
def test_a_log_that_is_no_file_is_left_out_at_once(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "error.log"
    if kind == "pipe":
        os.mkfifo(log)
    elif kind == "device":
        log.symlink_to("/dev/zero")
    elif kind == "directory":
        log.mkdir()
    elif kind == "link to itself":
        log.symlink_to(log)
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put("look.json", "{}")
    piece.put_log_tails([(str(log), None), ("\0", None)])
    assert [file.name for file in piece.path.iterdir()] == ["look.json"]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_nothing_is_written_where_others_may_look_or_write(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "evidence" / "a"
    place.mkdir(parents=True)
    place.chmod(mode)
    EvidenceDirectory(tmp_path / "evidence", "a").put("look.json", "{}")
    assert list(place.iterdir()) == []


def test_nothing_is_written_below_a_directory_of_everybodys(tmp_path: Path) -> None:
    root = tmp_path / "evidence"
    (root / "a").mkdir(parents=True, mode=0o700)
    root.chmod(0o1777)
    EvidenceDirectory(root, "a").put("look.json", "{}")
    assert list((root / "a").iterdir()) == []


def test_a_file_that_others_have_open_is_not_written_to_again(tmp_path: Path) -> None:
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put("look.json", "one")
    with (piece.path / "look.json").open() as held:
        piece.put("look.json", "two")
        assert held.read() == "one"
    assert (piece.path / "look.json").read_text() == "two"


def test_the_doctor_is_started_where_nothing_is_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}

    def record(command: list[str], **options: Any) -> None:
        started.update(options, command=command)
        raise OSError

    monkeypatch.setattr("ops.supervision.evidence_store.subprocess.Popen", record)
    monkeypatch.chdir(tmp_path)
    EvidenceDirectory(tmp_path / "evidence", "a").start_doctor(Path("gte-ops.toml"))
    assert started["cwd"] == "/"
    assert started["command"][1:4] == ["-P", "-m", "ops.cli"]
    assert started["command"][-2:] == ["--config", str(tmp_path / "gte-ops.toml")]
