"""Find which of the files on disk are in effect. Pure.

A healthy service does not prove an edited file good before nginx or gunicorn has loaded it: the outage may come with
the reload. For such a file the baseline keeps its earlier state."""

from __future__ import annotations

import msgspec

from ops.baselines.state import Baseline
from ops.facts.changes import PlaceKind
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.gunicorn import arguments, process_of, setting
from ops.interpret.nginx import nginx_workers, serving_masters

# proc(5) gives a process's start in clock ticks since boot, and the boot time in seconds (/proc/stat, btime).
SLACK = 2.0
_OF_NGINX = (PlaceKind.NGINX, PlaceKind.CERTIFICATE)
_OF_WORKERS = (PlaceKind.GUNICORN, PlaceKind.APPLICATION, PlaceKind.MODEL, PlaceKind.PACKAGE)
_OF_MASTER = (PlaceKind.UNIT, PlaceKind.ENVIRONMENT_FILE, PlaceKind.COMMAND)


class Loaded(msgspec.Struct, frozen=True):
    """The times at which nginx and gunicorn's workers last read their files, and gunicorn's master its environment
    (Unix seconds); None if no such process was seen."""

    nginx: float | None = None
    workers: float | None = None
    master: float | None = None

    def of(self, place: PlaceKind) -> float | None:
        """Return when files of this kind were last read; None if that is unknown, or if they are read each time."""
        if place in _OF_NGINX:
            return self.nginx
        if place in _OF_WORKERS:
            return self.workers
        return self.master if place in _OF_MASTER else None


def loaded(snapshot: Snapshot) -> Loaded:
    """Return the processes' times. Use the oldest worker's: one that replaces a dead worker rereads no nginx files."""
    target, processes = snapshot.target, snapshot.processes
    if not isinstance(target, Target) or not isinstance(processes, Processes):
        return Loaded()
    nginx = [
        worker.started
        for master in serving_masters(target, processes, snapshot.nginx_pidfile)
        for worker in nginx_workers(processes.processes, master.pid)
    ]
    master = process_of(processes, target.gunicorn_master)
    workers = [p.started for p in processes.processes if p.pid in target.gunicorn_workers]
    own = snapshot.gunicorn.config if isinstance(snapshot.gunicorn, Gunicorn) else None
    is_preloaded = bool(setting("preload_app", "preload", arguments(master), own))
    return Loaded(
        nginx=min(nginx, default=None),
        workers=master.started if master and is_preloaded else min(workers, default=None),
        master=master.started if master else None,
    )


def in_effect(present: Baseline, before: Baseline, times: Loaded) -> Baseline:
    """Return ``present`` with the state from ``before`` for files that no process has loaded since they changed."""
    files = dict(present.files)
    for path, file in present.files.items():
        read_at = times.of(file.place)
        old = before.files.get(path)
        if read_at is None or file.ctime / 1e9 <= read_at + SLACK or (old and old.meaning == file.meaning):
            continue
        if old is None:
            del files[path]
        else:
            files[path] = old
    for path, old in before.files.items():
        # nginx still uses a removed file until it reloads.
        if path not in present.files and times.of(old.place) is not None and old.place in _OF_NGINX:
            directory = present.directories.get(path.rpartition("/")[0])
            if directory is not None and directory / 1e9 > (times.nginx or 0.0) + SLACK:
                files[path] = old
    return msgspec.structs.replace(present, files=files)
