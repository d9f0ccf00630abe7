"""Restores killed by SIGKILL at random instants, also while they recover; what the tree then is, is counted.

    python -m tests.system.killed_restores COUNT SEED

COUNT restores die; those that end before their kill are counted besides. Most kills fall behind the first word of the
journal, where there is something to lose. Prints one JSON object: how many were wholly old or wholly new after the next
run, and in what state that run found them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.backups.restore.apply import Restoration, look
from ops.backups.restore.journal import JOURNAL_NAME, only_restore, read_journal, recover
from ops.files.nofollow_tree import NoFollowTree
from tests.system.made_backup import facts_of, make_backup
from tests.system.test_restoration import lay_out


def restore(root: Path, archive: Path) -> None:
    """One restore as the command does it, without nginx."""
    tree = NoFollowTree(root)
    with only_restore(root):
        recover(root)
        Restoration(tree, root, look(tree, archive, (), ())).run(lambda: None, None)


def only_recover(root: Path, _archive: Path) -> None:
    """What every next run does first."""
    with only_restore(root):
        recover(root)


def killed(
    work: Callable[[Path, Path], None], root: Path, archive: Path, after: float, *, from_journal: bool = False
) -> bool:
    """Runs ``work`` in a process of its own and kills it after so many seconds, counted from its journal's first word
    with ``from_journal``; whether it was killed in time."""
    pid = os.fork()
    if pid == 0:
        try:
            work(root, archive)
        except BaseException:  # noqa: BLE001  the parent judges by the tree
            os._exit(1)
        os._exit(0)
    status = None
    while from_journal and not (root / JOURNAL_NAME).exists() and status is None:
        ended, code = os.waitpid(pid, os.WNOHANG)
        status = code if ended else None
    if status is None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a restore failed by itself"
    return os.WIFSIGNALED(status)


def main(count: int, seed: int) -> dict[str, Any]:
    """Kills ``count`` restores. Raises AssertionError at the first tree that is neither old nor new."""
    chance = random.Random(seed)
    base = Path(tempfile.mkdtemp(prefix="gte-killed-"))
    counts: Counter[str] = Counter()
    try:
        lay_out(base / "new", "new")
        lay_out(base / "old", "old")
        archive = make_backup(base / "new", base / "backups")
        old, new = facts_of(base / "old"), facts_of(base / "new")
        root = base / "host"
        _fresh(base / "old", root)
        begun = time.monotonic()
        restore(root, archive)
        whole = time.monotonic() - begun
        while counts["killed"] < count:
            _fresh(base / "old", root)
            late = chance.random() < 0.8
            hit = killed(restore, root, archive, chance.uniform(0, whole), from_journal=late)
            counts["killed" if hit else "ended before the kill"] += 1
            journal = read_journal(root)
            counts[f"found {journal.state if journal else 'without a journal'}"] += 1
            while chance.random() < 0.5 and (root / JOURNAL_NAME).exists():
                counts["recoveries killed"] += killed(
                    only_recover, root, archive, chance.uniform(0, 0.4 * whole)
                )
            only_recover(root, archive)
            after = facts_of(root)
            assert after in (old, new), f"neither old nor new: {sorted(set(after) ^ set(old))[:5]}"
            counts["wholly old" if after == old else "wholly new"] += 1
    finally:
        shutil.rmtree(base)
    return {
        "seed": seed,
        "seconds of one restore": round(whole, 4),
        **dict(sorted(counts.items())),
    }


def _fresh(source: Path, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(source, root, symlinks=True)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201
