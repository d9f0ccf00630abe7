"""Signs of life of the service while it is probed: CPU used, requests completed, connections waiting."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections import Counter
from pathlib import Path

import msgspec
import psutil

from ops.collect.logs.line import access_line
from ops.collect.net.connection import Deadline
from ops.collect.process.bound_sockets import accept_queues
from ops.collect.process.start_time import start_ticks, start_time
from ops.collect.services.gunicorn import read_progress
from ops.facts.base import NotSeen
from ops.facts.gunicorn import ProgressRecord
from ops.facts.probes import Activity, WorkerActivity
from ops.facts.target import Target
from ops.files.bounded_read import open_regular_file
from ops.files.programs import trusted_program
from ops.interpret.address import same_address
from ops.interpret.progress import all_stuck, stuck_for
from ops.interpret.target import log_namer


class ActivityReading(msgspec.Struct, frozen=True):
    """One reading: states, CPU seconds and start times by pid, progress records, the accept queue's length."""

    at: float
    states: dict[int, str]
    cpu: dict[int, float]
    progress: tuple[ProgressRecord, ...]
    queued: int | None
    beaten: dict[int, bool | None] = msgspec.field(default_factory=dict)
    deadlocked: tuple[int, ...] = ()
    started: dict[int, float] = msgspec.field(default_factory=dict)
    hanging: tuple[int, ...] = ()
    others_completed: int = 0


def read(target: Target, progress_dir: str | None) -> ActivityReading:
    """Read the present state of the service's processes."""
    states: dict[int, str] = {}
    cpu: dict[int, float] = {}
    started: dict[int, float] = {}
    for pid in (*filter(None, (target.gunicorn_master,)), *target.gunicorn_workers):
        try:
            process = psutil.Process(pid)
            states[pid] = process.status()
            times = process.cpu_times()
            cpu[pid] = times.user + times.system
            ticks = start_ticks(pid)
            started[pid] = start_time(ticks) if ticks else process.create_time()
        except psutil.Error:
            states[pid] = "gone"
    progress = read_progress(progress_dir)
    return ActivityReading(
        at=time.time(),
        states=states,
        cpu=cpu,
        progress=() if isinstance(progress, NotSeen) else progress,
        queued=queued_at(target.backend),
        beaten={pid: has_beaten(pid) for pid in target.gunicorn_workers},
        started=started,
    )


def children(master: int) -> tuple[int, ...]:
    """The pids of a master's present children; none if it is gone."""
    try:
        return tuple(child.pid for child in psutil.Process(master).children())
    except psutil.Error:
        return ()


def has_beaten(pid: int) -> bool | None:
    """Whether a gunicorn worker has given its master a sign of life; None if that cannot be read.

    Until the first sign, their shared file (workers/workertmp.py) keeps its original time and mode. Each sign sets its
    time to the monotonic clock's, which is far from the calendar's; before gunicorn 20.1 it alternated between the
    modes 0 and 1. A worker that has not reached its loop is booting, and gunicorn's timeout does not apply."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                if "/wgunicorn-" in os.readlink(entry.path):  # noqa: PTH115
                    status = Path(entry.path).stat()
                    is_calendar = status.st_mtime > time.clock_gettime(time.CLOCK_BOOTTIME) + 365 * 86400
                    return not is_calendar or stat.S_IMODE(status.st_mode) in (0, 1)
    except OSError:
        return None
    return None


def queued_at(address: str) -> int | None:
    """The number of connections waiting to be accepted at one address; None if it cannot be read."""
    if address.startswith("unix:"):
        return _queued_at_unix(address.removeprefix("unix:"))
    counts = [count for listening, count in accept_queues().items() if same_address(listening, address)]
    return sum(counts) if counts else None


def _queued_at_unix(path: str) -> int | None:
    # The kernel reports a unix socket's queue only through sock_diag, which ss(8) queries.
    program = trusted_program("ss")
    if program is None:
        return None
    try:
        printed = subprocess.run(
            [program, "-xlH"],
            capture_output=True,
            timeout=1,
            check=False,
            text=True,
            errors="surrogateescape",
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    for row in printed.splitlines():
        columns = row.split()
        if len(columns) >= 5 and columns[4] == path and columns[2].isdigit():
            return int(columns[2])
    return None


def compare(before: ActivityReading, after: ActivityReading, workers: tuple[int, ...]) -> Activity:
    """The activity between two readings."""
    completed_before = {r.pid: r.completed for r in before.progress}
    completed_after = {r.pid: r.completed for r in after.progress}
    return Activity(
        seconds=after.at - before.at,
        workers=tuple(
            WorkerActivity(
                pid=pid,
                state=after.states.get(pid, "gone"),
                cpu=(before.cpu[pid], after.cpu[pid]) if pid in before.cpu and pid in after.cpu else None,
                completed=(completed_before[pid], completed_after[pid])
                if pid in completed_before and pid in completed_after
                else None,
                has_beaten=after.beaten.get(pid),
            )
            for pid in workers
        ),
        queued=(before.queued, after.queued),
        progress=after.progress,
        deadlocked=after.deadlocked,
        hanging=after.hanging,
        others_completed=after.others_completed,
    )


def nobody_can_answer(reading: ActivityReading, workers: tuple[int, ...]) -> bool:
    """Whether waiting longer is pointless: every worker is stopped (or gone)."""
    states = [reading.states.get(pid, "gone") for pid in workers]
    return bool(states) and all(state in ("stopped", "tracing-stop", "gone", "zombie") for state in states)


def nobody_boots(reading: ActivityReading, target: Target) -> bool:
    """Whether every worker has lived for longer than a boot may take without a sign of life to its master."""
    workers = target.gunicorn_workers
    return bool(workers) and all(
        reading.beaten.get(pid) is False
        and reading.at - reading.started.get(pid, reading.at) > target.boot_deadline
        for pid in workers
    )


def all_silent_for(reading: ActivityReading, seconds: float) -> bool:
    """Whether, by the progress records, every worker has had a request in flight for longer than ``seconds`` and
    completed nothing for as long."""
    return all_stuck(reading.progress, reading.at, seconds)


def ours_is_with_the_stuck(before: ActivityReading, reading: ActivityReading, deadline: float) -> bool:
    """Whether, by the progress records, some workers are past their request deadline and hold our requests: the others
    have no request that arrived after ``before``."""
    moving = [r for r in reading.progress if stuck_for(r, reading.at, deadline) is None]
    is_mixed = 0 < len(moving) < len(reading.progress)
    return is_mixed and not any(item.since >= before.at for record in moving for item in record.in_flight)


# The number of the doctor's own requests that may have completed before the doctor notices.
OWN_PROBES = 4
# The doctor's own connections that may wait in the service's queue at once: five past nginx (service_probes:
# connection, health, readiness, debugger, prediction), and as many through it.
OWN_CONNECTIONS = 10
# Of others' requests, which the log tells by their client's name, one may have been answered before we began.
OTHERS_REQUESTS = 2
_OWN_CLIENTS = b"gte-ops"
# A format with the client's name quotes the request, the referrer and the name.
_QUOTES_WITH_CLIENT = 6
# Bytes that are read of a log's new lines: enough for hundreds of lines.
MAX_GAINED_BYTES = 64 * 1024


class OthersRequests:
    """Count completed requests other than our own since ``before``, by the workers' progress records or the service's
    own access log. Made before the first request of ours is sent."""

    def __init__(
        self, before: ActivityReading, target: Target, patience: Deadline, *, own_connections: int | None
    ) -> None:
        """``own_connections``: the number of our connections that may wait in the queue; None if that is unknown, or if
        requests of ours may have been sent before."""
        self._before, self._patience, self._own_connections = before, patience, own_connections
        self._log, self._namer = target.gunicorn_access_log, log_namer(target, "gunicorn_access_log")
        self._prediction = f" {target.predict_path} ".encode()
        self._size = self._log_size()
        self._is_written_at_once = bool(self._log) and any(
            _writes(pid, str(self._log)) for pid in target.gunicorn_workers
        )

    def completed(self, reading: ActivityReading) -> int:
        """The number of requests that have completed and cannot be ours; 0 if each may be ours."""
        own = self._patience.answered + OWN_PROBES
        if (beyond := completions(self._before, reading) - own) > 0:
            return beyond
        logged = self._logged(self._before.at)
        others = _others(logged)
        if len(logged) > own or others >= OTHERS_REQUESTS:
            return max(len(logged) - own, others)
        return self._completed_before_a_queue(reading)

    def _completed_before_a_queue(self, reading: ActivityReading) -> int:
        """The same, sooner, if requests waited before ours were sent, and others than ours wait now: those that were
        being processed then and are not any more, or those logged since, by workers that write their lines at once."""
        if self._own_connections is None or not self._before.queued:
            return 0
        if (reading.queued or 0) <= self._own_connections:
            return 0
        if ended := ended_since(self._before, reading):
            return ended
        if not self._is_written_at_once:
            return 0
        others = _others(self._logged(float(int(self._before.at))))
        return others if others >= OTHERS_REQUESTS else 0

    def _log_size(self) -> int | None:
        try:
            return Path(self._log).stat().st_size if self._log else None
        except OSError:
            return None

    def _logged(self, since: float) -> list[bytes]:
        """The predictions added to the log whose time is not before ``since``. Log times are whole seconds: a line of
        the second in which we began may be older if the log is written with delay."""
        if self._log is None or self._size is None:
            return []
        try:
            with open_regular_file(self._log, namer=self._namer) as file:
                file.seek(self._size)
                gained = file.read(MAX_GAINED_BYTES)
        except (OSError, ValueError):
            return []
        return [
            line
            for line in gained.splitlines()
            if self._prediction in line and (access := access_line(line)) is not None and access.time >= since
        ]


def _others(lines: list[bytes]) -> int:
    return sum(line.count(b'"') >= _QUOTES_WITH_CLIENT and _OWN_CLIENTS not in line for line in lines)


def _writes(pid: int, path: str) -> bool:
    """Whether a process has the file open itself, so that no pipe or collector delays its lines."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.path.samestat(Path(entry.path).stat(), Path(path).stat()) for entry in entries)
    except OSError:
        return False


def completions(before: ActivityReading, after: ActivityReading) -> int:
    """The number of requests completed between two readings, by the progress records."""
    earlier = {r.pid: r.completed for r in before.progress}
    return sum(max(0, r.completed - earlier.get(r.pid, r.completed)) for r in after.progress)


def ended_since(before: ActivityReading, after: ActivityReading) -> int:
    """The number of requests that were in flight at ``before`` and have completed by ``after``, by the records."""
    later = {(record.pid, record.start_ticks): record for record in after.progress}
    return sum(
        _ended(record, later[record.pid, record.start_ticks])
        for record in before.progress
        if (record.pid, record.start_ticks) in later
    )


def _ended(earlier: ProgressRecord, later: ProgressRecord) -> int:
    gone = Counter(earlier.in_flight) - Counter(later.in_flight)
    return min(gone.total(), max(0, later.completed - earlier.completed))
