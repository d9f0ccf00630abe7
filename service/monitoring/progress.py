"""Progress records: what each worker process is doing, readable from outside while it hangs.

Gunicorn's heartbeat says that a worker's main loop turns; with threads it stays fresh while every request of
the worker is stuck. So each worker keeps one small file, ``<progress_dir>/<pid>.json``, through gunicorn's
request hooks (``gunicorn_conf.py``). The doctor and the watchdog read it; ``/ready`` and ``/metrics`` use the
same facts.

Replacing a file at each start and end of a request would cost more than a short request itself. So a change
is written at once when the last replacement is ``_INTERVAL`` old, which is always so on a quiet server, and is
otherwise left to a thread that writes the newest state when the interval is over: at most 20 replacements a
second per worker, and never older than 50 ms while the interpreter runs.

One change does not wait: a request that begins while none is in flight. It may take the interpreter lock and
never give it back, and then no thread tells of it any more. It is written into the file as it lies there, with
one system call of about a microsecond. Between a replacement and the next, everything before ``in_flight`` has
the same width, so that a reader in that very moment meets old digits or a torn record, never shifted ones.
Measured by ``benchmarks/service_threads.py --progress``.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Phase(StrEnum):
    """What a worker process is doing."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"


_INTERVAL = 0.05  # seconds between two replacements of one worker's file
_LOOK_FOR_STOP = 1.0  # seconds between two looks for a stop
_LONGEST_PATH = 200  # characters of a request's path that are kept

_log = logging.getLogger("service")


@dataclass(frozen=True)
class Request:
    """A request in flight: its path without the query, and its start as Unix seconds."""

    path: str
    since: float


@dataclass(frozen=True)
class Record:
    """One worker process, as its file has it. Times are Unix seconds."""

    pid: int
    start_ticks: int
    phase: Phase
    completed: int
    last_completed: float | None
    in_flight: tuple[Request, ...]

    def to_json(self) -> bytes:
        """The file's content; what changes before ``in_flight`` always takes the same width."""
        last = "null" if self.last_completed is None else f"{self.last_completed:.3f}"
        in_flight = ", ".join(
            f'{{"path": {json.dumps(request.path)}, "since": {request.since:.3f}}}'
            for request in self.in_flight
        )
        phase = f'"{self.phase}"'
        return (
            f'{{"pid": {self.pid}, "start_ticks": {self.start_ticks}, "phase": {phase:>10}, '
            f'"completed": {self.completed:>12}, "last_completed": {last:>14}, "in_flight": [{in_flight}]}}'
        ).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Record":
        """The record that a file holds.

        Raises:
            ValueError: the content is torn or something else.
        """
        try:
            members = json.loads(content)
            return cls(
                pid=int(members["pid"]),
                start_ticks=int(members["start_ticks"]),
                phase=Phase(members["phase"]),
                completed=int(members["completed"]),
                last_completed=members["last_completed"],
                in_flight=tuple(Request(str(r["path"]), float(r["since"])) for r in members["in_flight"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a progress record: {error}") from None


@dataclass(frozen=True)
class ProcessFacts:
    """What /proc says of a process: its start in clock ticks after boot, and its parent's pid."""

    start_ticks: int
    parent: int


def process_facts(pid: int) -> ProcessFacts | None:
    """The facts of process ``pid`` (fields 22 and 4 of ``/proc/PID/stat``, see proc(5)), or None if it is
    gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessFacts(start_ticks=int(fields[19]), parent=int(fields[1]))


class Progress:
    """The record of this process, kept and written. Thread-safe: with gthread the hooks run in many
    threads."""

    def __init__(self, directory: Path, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """``stopping`` tells whether the worker has been asked to end; gunicorn has no hook for that."""
        self.directory = directory
        self._path = directory / f"{os.getpid()}.json"
        self._temporary = directory / f".{os.getpid()}.tmp"
        self._stopping = stopping
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._changed = threading.Event()
        self._in_flight: dict[int, Request] = {}
        self._completed = 0
        self._last_completed: float | None = None
        self._phase = Phase.BOOTING
        facts = process_facts(os.getpid())
        self._start_ticks = facts.start_ticks if facts else 0
        self._last_write = 0.0
        self._writable = True
        self._ended = False
        self._file: int | None = None  # the file as it lies there
        self._length = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)
        self._write()
        threading.Thread(target=self._write_later, name="progress", daemon=True).start()

    def begin(self, key: int, path: str) -> None:
        """A request has begun; ``key`` stands for it until ``end``. Never raises: no request fails for its
        record."""
        with self._lock:
            is_first = not self._in_flight
            self._in_flight[key] = Request(path[:_LONGEST_PATH], time.time())
        if is_first:
            self._write_in_place()
        else:
            self._record_soon()

    def end(self, key: int) -> None:
        """The request that began under ``key`` has ended, however it ended."""
        with self._lock:
            if self._in_flight.pop(key, None) is None:
                return
            self._completed += 1
            self._last_completed = time.time()
        self._record_soon()

    def enter(self, phase: Phase) -> None:
        """The worker has entered ``phase``. A draining worker stays one."""
        with self._lock:
            if self._phase is not Phase.DRAINING:
                self._phase = phase
        self._write()

    def close(self) -> None:
        """The process ends: its record is removed."""
        with self._writing:
            self._ended = True
            if self._file is not None:
                os.close(self._file)
                self._file = None
            remove(self._path)
            remove(self._temporary)

    def snapshot(self) -> Record:
        """The record as it is now, ahead of the file."""
        with self._lock:
            return Record(
                pid=os.getpid(),
                start_ticks=self._start_ticks,
                phase=self._phase,
                completed=self._completed,
                last_completed=self._last_completed,
                in_flight=tuple(self._in_flight.values()),
            )

    def _record_soon(self) -> None:
        if not self._writable:
            return
        if time.monotonic() - self._last_write >= _INTERVAL:
            self._write()
        else:
            self._changed.set()

    def _write_later(self) -> None:
        while not self._ended and self._writable:
            # Wake now and then to see a stop: a stuck request would never tell of it.
            changed = self._changed.wait(_LOOK_FOR_STOP)
            if self._phase is not Phase.DRAINING and self._stopping():
                self.enter(Phase.DRAINING)
            if changed:
                time.sleep(max(0.0, self._last_write + _INTERVAL - time.monotonic()))
                self._changed.clear()
                self._write()

    def _write(self) -> None:
        if not self._writable:
            return
        # Set before the state is read: a change that comes meanwhile is then either in it or announced after
        # it.
        self._last_write = time.monotonic()
        try:
            with self._writing:
                if self._ended:
                    return
                self._replace(self.snapshot().to_json())
        except OSError as error:
            self._give_up(error)

    def _replace(self, content: bytes) -> None:
        file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, content)
            self._temporary.replace(self._path)
        except OSError:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._length = file, len(content)

    def _write_in_place(self) -> None:
        if not self._writable:
            return
        try:
            with self._writing:
                if self._file is None:
                    return
                # Blanks after it are JSON too, and cover what was longer before.
                content = self.snapshot().to_json().ljust(self._length)
                os.pwrite(self._file, content, 0)
                self._length = len(content)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # Said once; a full or vanished tmpfs must not stop predictions or fill the log.
        if self._writable:
            self._writable = False
            _log.warning("no progress records: %s: %s", self.directory, error.strerror)


def read(path: Path) -> Record | None:
    """The record at ``path``, or None if there is none, it stays torn, or its process is gone.

    The file of a process that is gone, or whose pid has passed to another process, is removed.
    """
    for _ in range(10):
        try:
            content = path.read_bytes()
            # Read in the midst of a write, digits of two states can still be JSON; they do not come twice.
            if path.read_bytes() != content:
                continue
            record = Record.from_json(content)
        except OSError:
            return None
        except ValueError:
            continue
        facts = process_facts(record.pid)
        if facts is None or facts.start_ticks != record.start_ticks:
            remove(path)
            return None
        return record
    return None


def read_all(directory: Path) -> list[Record]:
    """The records of all live workers in ``directory``, by pid; those of dead ones are removed."""
    try:
        paths = sorted(path for path in directory.glob("*.json") if path.stem.isdigit())
    except OSError:
        return []
    return [record for record in map(read, paths) if record is not None]


def siblings(records: Iterable[Record], parent: int) -> list[Record]:
    """Those of ``records`` whose process is a child of ``parent``: the workers of one gunicorn master."""
    children = []
    for record in records:
        facts = process_facts(record.pid)
        if facts is not None and facts.parent == parent:
            children.append(record)
    return children


def remove(path: Path) -> None:
    """Remove a file that may be gone already, or in a directory that may not be written."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.debug("%s stays: %s", path, error)


class _Current:
    """The record of this worker process, once gunicorn has forked it."""

    progress: Progress | None = None


def start(directory: Path, **options: Any) -> Progress:
    """Begin this process's record; ``current`` returns it from now on."""
    _Current.progress = Progress(directory, **options)
    return _Current.progress


def current() -> Progress | None:
    """This process's record, or None where the application runs outside our gunicorn configuration."""
    return _Current.progress
