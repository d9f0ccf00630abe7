"""A host's life at random: installs, upgrades good and bad, rollbacks and uninstalls, killed at random moments.

    python -m tests.unit.upgrade.random_life --operations 200 --seed 1

prints the counts. After every run that came to its end the host works or is untouched; a run that was killed is
followed by another one."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from enum import StrEnum
from functools import partial
from pathlib import Path

from ops.errors import OpsError
from ops.installation.run import dry_run, install, uninstall
from ops.installation.store import InstallStore
from ops.upgrade.run import UpgradeOptions
from tests.unit.installation.made_host import KilledError, tree
from tests.unit.upgrade.made_service import (
    FIRST,
    LINK,
    NO_START,
    REFUSED_FILES,
    WRONG_ANSWERS,
    WRONG_FRONT,
    VersionedHost,
    host_with_a_version,
    source,
    steps_of,
    upgrader,
)


class Action(StrEnum):
    """What an operator does."""

    INSTALL = "install"
    UPGRADE = "upgrade"
    BAD_UPGRADE = "bad upgrade"
    ROLLBACK = "rollback"
    UNINSTALL = "uninstall"
    PURGE = "uninstall --purge"


_WEIGHTS = {
    Action.INSTALL: 4,
    Action.UPGRADE: 5,
    Action.BAD_UPGRADE: 3,
    Action.ROLLBACK: 2,
    Action.UNINSTALL: 1,
    Action.PURGE: 1,
}
_BAD = (NO_START, WRONG_ANSWERS, REFUSED_FILES, WRONG_FRONT)
_MOMENTS = (10, 30, 60, 160)
_SETTLED = ("state/serving", "state/successor", "state/watched by", "state/packages")


class BrokenHostError(AssertionError):
    """A host is neither working nor untouched."""


class Life:
    """One host. ``counts``: what was done to it, and what came of it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.number = 0
        host_with_a_version(root)
        self.untouched = self._tree()

    def _tree(self) -> dict[str, str]:
        return {path: facts for path, facts in tree(self.root).items() if path not in _SETTLED}

    def live(self, operations: int) -> Counter[str]:
        """So many operations. Raises BrokenHostError."""
        for _ in range(operations):
            self._operate()
        return self.counts

    def _operate(self) -> None:
        self.number += 1
        actions, weights = zip(*_WEIGHTS.items(), strict=True)
        (action,) = self.random.choices(actions, weights)
        if not InstallStore(self.root).record() and self.random.random() < 0.6:
            action = Action.INSTALL
        # An upgrade has fewer moments than an installation.
        within = self.random.choice(_MOMENTS)
        dies_at = self.random.randrange(within) if self.random.random() < 0.6 else None
        host = VersionedHost(self.root, dies_at=dies_at)
        self.counts[action] += 1
        try:
            self._do(action, host)
        except KilledError:
            self.counts["killed"] += 1
            if self.random.random() < 0.5:
                return  # whatever comes next meets what is left
            # The same once more, or what undoes it.
            host = VersionedHost(self.root)
            try:
                self._do(action, host)
            except OpsError:
                self.counts["refused or failed"] += 1
        except OpsError:
            self.counts["refused or failed"] += 1
        self._examine(action)

    def _do(self, action: Action, host: VersionedHost) -> None:
        run, store = upgrader(host), InstallStore(self.root)
        number = f"2.{self.number}"
        match action:
            case Action.INSTALL:
                run.recover()
                install(lambda: steps_of(host.version(self._link)), host, store, overwrite=True)
            case Action.UPGRADE:
                run.upgrade(source(number), UpgradeOptions())
            case Action.BAD_UPGRADE:
                run.upgrade(source(number + self.random.choice(_BAD)), UpgradeOptions())
            case Action.ROLLBACK:
                run.roll_back(UpgradeOptions())
            case Action.UNINSTALL:
                uninstall(host, store, purge=False)
            case Action.PURGE:
                uninstall(host, store, purge=True)

    @property
    def _link(self) -> Path:
        return self.root / LINK

    def _examine(self, action: Action) -> None:
        """Raises BrokenHostError."""
        host, store = VersionedHost(self.root), InstallStore(self.root)
        record = store.record()
        if record is None or not host.is_active("gte-api.service"):
            self._examine_untouched(action, is_purged=record is None)
            return
        link = self._link
        place, version = link.resolve(), host.version(link)
        result = dry_run(partial(steps_of, version), host, store)
        run = upgrader(host)
        wrong = {
            "a step is due": [str(item.step) for item in result.assessed if item.is_due],
            "a journal is left": [
                name for name in ("journal.jsonl", "upgrade.json") if (store.directory / name).exists()
            ],
            "a bad version serves": [version] if version.endswith(_BAD) else [],
            "another version serves": [str(run.service.environment())]
            if run.service.environment() not in (place, link)
            else [],
            "two masters": sorted(host.get("successor")),
            "a version that is left over": [
                path.name for path in run.versions.others() if host.version(path).endswith(_BAD)
            ],
            "a program of another place": [
                str(link)
                for text in [(link / "bin/gunicorn").read_text()]
                if not text.startswith((f"#!{place}/", f"#!{link}/"))
            ],
        }
        run.service.answers()
        self._must_be_empty(action, wrong)
        self.counts["working"] += 1

    def _examine_untouched(self, action: Action, *, is_purged: bool) -> None:
        if is_purged:
            after = self._tree()
            differing = sorted(path for path, _ in after.items() ^ self.untouched.items())
            self._must_be_empty(action, {"not as it was": differing})
            self.counts["untouched"] += 1
            return
        environment = self._link
        self._must_be_empty(
            action,
            {
                "a journal is left": [
                    name
                    for name in ("journal.jsonl", "upgrade.json")
                    if (InstallStore(self.root).directory / name).exists()
                ],
                "versions are left": [str(path) for path in (environment.parent / "versions").glob("*")],
                "units are left": [str(path) for path in (self.root / "etc/systemd/system").glob("gte-*")],
                "the environment is not as it was": []
                if environment.is_dir() and not environment.is_symlink()
                else ["link"],
                "another version": []
                if VersionedHost(self.root).version(environment) == FIRST
                else ["version"],
            },
        )
        self.counts["only data left"] += 1

    def _must_be_empty(self, action: Action, wrong: dict[str, list[str]]) -> None:
        wrong = {words: items for words, items in wrong.items() if items}
        if wrong:
            raise BrokenHostError(
                f"seed {self.seed}, operation {self.number} ({action}): {json.dumps(wrong, indent=1)[:2000]}"
            )


def main() -> None:
    """Print the counts of one life."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.fsync = lambda _: None  # type: ignore[assignment]  # the disk outlives this process
    with tempfile.TemporaryDirectory() as directory:
        counts = Life(Path(directory), arguments.seed).live(arguments.operations)
    sys.stdout.write(json.dumps(dict(sorted(counts.items()))) + "\n")


if __name__ == "__main__":
    main()
