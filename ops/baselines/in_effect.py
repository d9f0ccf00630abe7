"""What of the files on disk is in effect. Pure.

An edited file that nginx or gunicorn has not loaded yet proves nothing by a service that is healthy: the outage comes
with the reload. Of such a file the baseline keeps what it had."""

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

# A process's start is known to a tick of the kernel's clock, and its boot to a second (proc(5), /proc/stat, btime).
SLACK = 2.0
_OF_NGINX = (PlaceKind.NGINX, PlaceKind.CERTIFICATE)
_OF_WORKERS = (PlaceKind.GUNICORN, PlaceKind.APPLICATION, PlaceKind.MODEL, PlaceKind.PACKAGE)
_OF_MASTER = (PlaceKind.UNIT, PlaceKind.ENVIRONMENT_FILE, PlaceKind.COMMAND)


class Loaded(msgspec.Struct, frozen=True):
    """When nginx last read its files, gunicorn's workers theirs, and gunicorn's master its environment (Unix seconds);
    None if no such process was seen."""

    nginx: float | None = None
    workers: float | None = None
    master: float | None = None

    def of(self, place: PlaceKind) -> float | None:
        """When files of this kind were last read; None where that is not known, or they are read each time."""
        if place in _OF_NGINX:
            return self.nginx
        if place in _OF_WORKERS:
            return self.workers
        return self.master if place in _OF_MASTER else None


def loaded(snapshot: Snapshot) -> Loaded:
    """The processes' times. The oldest worker counts: a worker that replaces a dead one does not read nginx's files."""
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
    """``present``, but of files that no process has loaded since they changed what ``before`` had."""
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
        # One that was removed may still be in effect; of what is read each time it is not.
        if path not in present.files and times.of(old.place) is not None and old.place in _OF_NGINX:
            directory = present.directories.get(path.rpartition("/")[0])
            if directory is not None and directory / 1e9 > (times.nginx or 0.0) + SLACK:
                files[path] = old
    return msgspec.structs.replace(present, files=files)
