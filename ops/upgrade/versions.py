"""Where the versions are: an environment of its own for each, and one link that leads to the present one.

`/opt/gte-api/venv` is a link to `versions/0.3.0` beside it. Before the first upgrade it is a directory, the one that
was made by hand: that is copied to a version of its own, and kept as it was, for `uninstall`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from ops.installation.host import HostTree
from ops.installation.steps import Phase, Record, UndoVersions
from ops.installation.store import InstallStore, UpgradeRun

_ORIGINAL = ".original"
_NEW = ".new"


class Versions:
    """The versions beside ``link``."""

    def __init__(self, host: HostTree, store: InstallStore, link: Path) -> None:
        self.host, self.store, self.link = host, store, link
        self.directory = link.parent / "versions"
        self.original = self.directory / _ORIGINAL

    @property
    def is_converted(self) -> bool:
        """Whether the link is one."""
        return self.link.is_symlink()

    @property
    def current(self) -> Path:
        """The present version's environment, by its own path."""
        return self.link.parent / os.readlink(self.link) if self.is_converted else self.link  # noqa: PTH115

    def others(self) -> tuple[Path, ...]:
        """The other versions, the one that was present last first."""
        if not self.directory.is_dir():
            return ()
        paths = (path for path in self.directory.iterdir() if not path.name.startswith(".") and path.is_dir())
        others = (path for path in paths if path != self.current)
        return tuple(sorted(others, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True))

    def free_place(self, version: str) -> Path:
        """A directory for another environment with ``version``."""
        number, place = 1, self.directory / version
        while os.path.lexists(place):
            number += 1
            place = self.directory / f"{version}-{number}"
        return place

    def convert(self, run: UpgradeRun) -> UpgradeRun:
        """Make the environment that was made by hand a version, at one instant and without a change to what it holds.
        Returns the run with that version as its source. Raises OSError, StepError."""
        if self.is_converted:
            return run
        copy = self.free_place(self.host.version(self.link) or "before")
        run = replace(run, copy=str(copy))
        self.store.set_upgrade(run)
        self._record()
        self.host.copy_environment(self.link, copy)
        self.host.remove(self.original)
        self.host.link(self.original, os.path.relpath(copy, self.link.parent))
        self.host.exchange(self.link, self.original)
        run = replace(run, source=str(copy), copy=None)
        self.store.set_upgrade(run)
        return run

    def _record(self) -> None:
        """`uninstall` puts the environment back that was made by hand."""
        record = self.store.record()
        if record is None or any(isinstance(item, UndoVersions) for item in record.undo):
            return
        undo = UndoVersions(int(Phase.ENVIRONMENT), str(self.link), str(self.original), str(self.directory))
        items = sorted((*record.undo, undo), key=lambda item: item.phase)
        self.store.commit(Record(record.run, tuple(items)))

    def end_conversion(self, run: UpgradeRun) -> UpgradeRun:
        """What becomes of a conversion that was cut off: undone before its one instant, done after it."""
        if run.copy is None:
            return run
        copy = Path(run.copy)
        if self.is_converted:
            run = replace(run, source=str(copy), copy=None)
        else:
            self.host.remove_tree(copy)
            if self.original.is_symlink():
                self.host.remove(self.original)
            run = replace(run, copy=None)
        self.store.set_upgrade(run)
        return run

    def switch(self, environment: Path) -> None:
        """Have the link lead to ``environment``, at one instant. Raises OSError."""
        self.host.link(self.link, os.path.relpath(environment, self.link.parent))

    def mark_left(self, environment: Path) -> None:
        """``environment`` was the present one until now. Raises OSError."""
        os.utime(environment)

    def prune(self, keep: int, in_use: Iterable[Path | None]) -> tuple[Path, ...]:
        """Remove all but ``keep`` other versions, and none that a process runs in. Raises OSError."""
        used = set(in_use)
        surplus = tuple(path for path in self.others()[keep:] if path not in used)
        for path in surplus:
            self.host.remove_tree(path)
        return surplus


def newest_wheel(directory: Path) -> str | None:
    """The highest version of gte-ops among the wheels in a directory, without pre-releases."""
    versions = (parsed(path.name.split("-")[1]) for path in directory.glob("gte_ops-*.whl"))
    released = [version for version in versions if version is not None and not version.is_prerelease]
    return str(max(released)) if released else None


def parsed(version: str) -> Version | None:
    """A version as pip compares it; None for what is none."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def is_same_version(one: str, other: str) -> bool:
    """0.3 is 0.3.0."""
    return one == other or (parsed(one) is not None and parsed(one) == parsed(other))


def satisfies(version: str, wanted: str) -> bool:
    """Whether pip takes ``version`` for ``==wanted``: as `is_same_version`, and 0.3.0+local is 0.3.0 too."""
    held, asked = parsed(version), parsed(wanted)
    if held is None or asked is None:
        return version == wanted
    return held == asked or (asked.local is None and Version(held.public) == asked)
