"""A restore killed, or refused by the disk, at each system call that changes a file."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.backups.restore.journal import recover
from tests.system.made_backup import facts_of, make_backup
from tests.system.test_restoration import lay_out

REPOSITORY = Path(__file__).parents[2]
CHANGING = (
    "chmod", "fchownat", "fsync", "linkat", "mkdir", "mkdirat", "openat", "rename", "renameat", "renameat2",
    "rmdir", "symlinkat", "unlink", "unlinkat", "utimensat", "write",
)  # fmt: skip
SAMPLE = 7

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass
class Bench:
    """A tree to restore over and over, in memory where there is room."""

    base: Path
    archive: Path
    old: dict[str, Any]
    new: dict[str, Any]

    @property
    def root(self) -> Path:
        return self.base / "host"

    def fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.base / "old", self.root, symlinks=True)

    def restore(self, *before: str) -> subprocess.CompletedProcess[str]:
        """`gte-ops backup restore` below the root, under ``before``."""
        return subprocess.run(
            [*before, sys.executable, "-m", "ops.cli", "backup", "restore", str(self.archive),
             "--root", str(self.root), "--yes", "--config", str(self.base / "gte-ops.toml")],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def calls(self) -> list[tuple[str, int]]:
        """Every call that changes a file: its name, and the how manieth of that name it is."""
        self.fresh()
        log = self.base / "trace"
        ran = self.restore("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CHANGING)}")
        assert ran.returncode == 0, ran.stderr
        counts: Counter[str] = Counter()
        found = []
        for line in log.read_text(errors="replace").splitlines():
            match = re.match(r"\d+ +(\w+)\((.*)", line)
            if match:
                name, arguments = match.groups()
                counts[name] += 1
                reads = name == "openat" and "O_CREAT" not in arguments
                shows = name == "write" and arguments.startswith(("1,", "2,"))
                if not (reads or shows):
                    found.append((name, counts[name]))
        return found

    def inject(self, name: str, number: int, what: str) -> subprocess.CompletedProcess[str]:
        self.fresh()
        log = str(self.base / "trace")
        return self.restore(
            "strace", "-f", "-qq", "-o", log, "-e", f"trace={name}",
            "-e", f"inject={name}:{what}:when={number}",
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        base = Path(directory)
        lay_out(base / "new", "new")
        lay_out(base / "old", "old")
        (base / "gte-ops.toml").write_text(f'[backup]\ndir = "{base}/backups"\n')
        archive = make_backup(base / "new", base / "backups")
        yield Bench(base, archive, facts_of(base / "old"), facts_of(base / "new"))


def some(calls: list[tuple[str, int]], runs: str) -> list[tuple[str, int]]:
    return calls if runs == "all" else calls[:: max(1, len(calls) // SAMPLE)]


every_call = pytest.mark.parametrize("runs", ["some", pytest.param("all", marks=pytest.mark.long)])


@every_call
def test_killed_at_a_call_it_is_wholly_old_or_wholly_new_after_the_next_run(bench: Bench, runs: str) -> None:
    ended: Counter[str] = Counter()
    for name, number in some(bench.calls(), runs):
        ran = bench.inject(name, number, "signal=KILL")
        assert ran.returncode in (-9, 137), (name, number, ran)
        recover(bench.root)
        after = facts_of(bench.root)
        assert after in (bench.old, bench.new), (name, number, sorted(set(after) ^ set(bench.old)))
        ended["old" if after == bench.old else "new"] += 1
    print("killed:", dict(ended))  # noqa: T201  the counts of the proof
    assert ended["old"]
    assert ended["new"]


@every_call
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_call_that_fails_leaves_everything_as_it_was(bench: Bench, runs: str, error: str) -> None:
    ended: Counter[str] = Counter()
    for name, number in some(bench.calls(), runs)[(error == "ENOSPC") :: 2 if runs == "some" else 1]:
        ran = bench.inject(name, number, f"error={error}")
        after = facts_of(bench.root)
        if ran.returncode == 0:
            recover(bench.root)  # what could not be removed behind the decision
            assert facts_of(bench.root) == bench.new, (name, number)
        else:
            assert ran.returncode in (2, 3), (name, number, ran)
            assert after == bench.old, (name, number, ran.stderr, sorted(set(after) ^ set(bench.old)))
            assert ran.stderr.count("\n") == 1, ran.stderr
            assert "Traceback" not in ran.stderr
            assert "please report" not in ran.stderr, (name, number, ran.stderr)
        ended[f"exit {ran.returncode}"] += 1
    print(error, dict(ended))  # noqa: T201  the counts of the proof
    assert ended["exit 2"]


def test_a_disk_that_is_full_leaves_everything_as_it_was(bench: Bench) -> None:
    """A file system of its own with room for the old files and next to nothing more."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    script = """
set -e
mount -t tmpfs -o size="$2",mode=755 tmpfs "$1/host"
cp -a "$1/old/." "$1/host/"
before=$(cd "$1/host" && find . -printf '%P %y %m %U %G %l\\n' | sort; find . -type f -exec sha256sum {} + | sort)
shift 2
code=0
"$@" || code=$?
after=$(cd "${0%/}" && find . -printf '%P %y %m %U %G %l\\n' | sort; find . -type f -exec sha256sum {} + | sort)
[ $code = 0 ] || [ "$before" = "$after" ] || exit 99
exit $code
"""
    bench.fresh()
    codes = []
    for pages in (18, 21, 25, 120):
        ran = bench.restore(
            "unshare", "--mount", "sh", "-c", script, str(bench.root), str(bench.base), f"{pages * 4}k"
        )
        codes.append(ran.returncode)
        if ran.returncode == 2:
            assert "No space left on device" in ran.stderr
            assert ran.stderr.count("\n") == 1
    assert set(codes[:-1]) == {2}, codes
    assert codes[-1] == 0
