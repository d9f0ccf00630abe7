"""Progress records of a worker process, for any WSGI or ASGI application under gunicorn. Standard library only.

Gunicorn's heartbeat shows that a worker's main loop runs, not that its requests end. So each worker keeps one small
file, ``DIRECTORY/PID.json``, that shows from outside what it is doing, also while it hangs. ``gte-ops doctor`` and
``gte-ops watchdog`` read it. This file may be copied into an application; docs/any-application.md describes its use::

    application = WsgiProgress(application)            # Flask, Django, any WSGI application
    application = AsgiProgress(application)            # FastAPI, Starlette, Django, any ASGI application

The record has the requests in flight: when one has not ended for too long and nothing else ends, the worker is stuck.
In an event loop that proves nothing, because a request may await something for as long as it likes. There the record
also has a ``beat``, the time at which the loop itself last ran. While the beat is fresh, nothing is stuck; once it is
old, the loop is blocked.

The cost: replacing a file at each start and end of a request would take longer than a short request. So a change is
written at once if the last replacement is at least ``_INTERVAL`` ago, as on a quiet server, and otherwise by a thread
at the end of the interval: at most 20 replacements a second, and never older than 50 ms while the interpreter runs.

One change does not wait: the start of a request while none is in flight. That request may take the interpreter lock and
never release it, and then no thread can write any more. It is written into the existing file, with one system call of
about a microsecond. Between two replacements everything before ``in_flight`` keeps its width, so that a reader at that
moment gets old digits or a torn record, never shifted ones. Measured by ``benchmarks/service_threads.py --progress``.
"""

import _thread
import atexit
import inspect
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["AsgiProgress", "Phase", "Progress", "Record", "Request", "WsgiProgress", "post_worker_init"]

DIRECTORY = "GTE_PROGRESS_DIR"  # the environment variable
_DEFAULT_DIRECTORY = "/run/gte-api/progress"

_INTERVAL = 0.05  # seconds between two replacements of one worker's file
_BEAT_INTERVAL = 1.0  # seconds between two beats, and between two checks for a stop
_LONGEST_PATH = 200  # characters of a request's path that are recorded

_log = logging.getLogger("gte_progress")


class Phase(StrEnum):
    """What a worker process is doing."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True)
class Request:
    """A request in flight: its path without the query, and when it began or last answered a part, in Unix seconds."""

    path: str
    since: float


@dataclass(frozen=True)
class Record:
    """One worker process, as in its file. Times are Unix seconds. ``beat``: None if no event loop serves requests."""

    pid: int
    start_ticks: int
    phase: Phase
    completed: int
    last_completed: float | None
    in_flight: tuple[Request, ...]
    beat: float | None = None

    def to_json(self) -> bytes:
        """The content of the file; everything before ``in_flight`` has a constant width."""
        last = "null" if self.last_completed is None else f"{self.last_completed:.3f}"
        beat = "" if self.beat is None else f'"beat": {self.beat:>14.3f}, '
        in_flight = ", ".join(
            f'{{"path": {json.dumps(request.path)}, "since": {request.since:.3f}}}'
            for request in self.in_flight
        )
        phase = f'"{self.phase}"'
        return (
            f'{{"pid": {self.pid}, "start_ticks": {self.start_ticks}, "phase": {phase:>10}, '
            f'"completed": {self.completed:>12}, "last_completed": {last:>14}, {beat}"in_flight": [{in_flight}]}}'
        ).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Record":
        """The record in a file.

        Raises:
            ValueError: the content is torn or something else.
        """
        try:
            members = json.loads(content)
            beat = members.get("beat")
            return cls(
                pid=int(members["pid"]),
                start_ticks=int(members["start_ticks"]),
                phase=Phase(members["phase"]),
                completed=int(members["completed"]),
                last_completed=members["last_completed"],
                in_flight=tuple(Request(str(r["path"]), float(r["since"])) for r in members["in_flight"]),
                beat=None if beat is None else float(beat),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a progress record: {error}") from None


@dataclass(frozen=True)
class ProcessFacts:
    """A process in /proc: its start in clock ticks after boot, and its parent's pid."""

    start_ticks: int
    parent: int


def process_facts(pid: int) -> ProcessFacts | None:
    """The facts of process ``pid`` (fields 22 and 4 of ``/proc/PID/stat``, see proc(5)), or None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may contain spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessFacts(start_ticks=int(fields[19]), parent=int(fields[1]))


class Progress:
    """Keeps and writes the record of this process. Thread-safe."""

    def __init__(
        self,
        directory: Path,
        *,
        phase: Phase = Phase.BOOTING,
        stopping: Callable[[], bool] = lambda: False,
        log: logging.Logger = _log,
    ) -> None:
        """``stopping`` tells whether the worker has been asked to end, for which gunicorn has no hook."""
        self.directory = directory
        self._pid = os.getpid()
        self._path = directory / f"{self._pid}.json"
        self._temporary = directory / f".{self._pid}.tmp"
        self._stopping = stopping
        self._log = log
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._changed = threading.Event()
        self._in_flight: dict[int, Request] = {}
        self._completed = 0
        self._last_completed: float | None = None
        self._phase = phase
        self._beat: float | None = None
        facts = process_facts(self._pid)
        self._start_ticks = facts.start_ticks if facts else 0
        self._last_write = 0.0
        self._writable = True
        self._ended = False
        self._file: int | None = None  # the current file, open
        self._length = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)
        self._write()

    def start(self) -> "Progress":
        """Start the thread that writes what was not written at once. Returns this object."""
        try:
            threading.Thread(target=self._write_later, name="progress", daemon=True).start()
        except RuntimeError as error:  # no thread can be started
            self._give_up(error)
        return self

    def begin(self, key: int, path: str) -> None:
        """A request has begun; ``key`` identifies it until ``end``. Never raises: no request fails for its record."""
        with self._lock:
            is_first = not self._in_flight
            self._in_flight[key] = Request(path[:_LONGEST_PATH], time.time())
        if is_first:
            self._write_in_place()
        else:
            self._record_soon()

    def renew(self, key: int) -> None:
        """A part of the answer has been produced: the request is as good as new."""
        now = time.time()
        with self._lock:
            request = self._in_flight.get(key)
            if request is None or 0 <= now - request.since < _BEAT_INTERVAL:
                return
            self._in_flight[key] = Request(request.path, now)
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
                self._phase = Phase(phase)
        self._write()

    def beat(self) -> None:
        """The event loop runs. Only the loop itself may call this."""
        is_first = self._beat is None
        self._beat = time.time()
        if is_first:
            self._write()  # the record gets wider
        else:
            self._write_in_place()

    def close(self) -> None:
        """The process ends: remove its record."""
        if os.getpid() != self._pid:
            return  # a fork, which inherited this object
        with self._writing:
            self._ended = True
            self._remove()

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    def snapshot(self) -> Record:
        """The record now; the file may be older."""
        with self._lock:
            return Record(
                pid=self._pid,
                start_ticks=self._start_ticks,
                phase=self._phase,
                completed=self._completed,
                last_completed=self._last_completed,
                in_flight=tuple(self._in_flight.values()),
                beat=self._beat,
            )

    def _record_soon(self) -> None:
        if not self._writable:
            return
        if time.monotonic() - self._last_write >= _INTERVAL:
            self._write()
        else:
            self._changed.set()

    def _write_later(self) -> None:
        # gevent turns this thread into a greenlet, which runs only if its loop does.
        is_greenlet = not inspect.isbuiltin(_thread.start_new_thread)
        while not self._ended and self._writable:
            # Wake up now and then, because a stop is no change, and for the beat.
            changed = self._changed.wait(_BEAT_INTERVAL)
            if self._phase is not Phase.DRAINING and self._stopping():
                self.enter(Phase.DRAINING)
            if is_greenlet:
                self.beat()
            if changed:
                time.sleep(max(0.0, self._last_write + _INTERVAL - time.monotonic()))
                self._changed.clear()
                self._write()

    def _write(self) -> None:
        if not self._writable:
            return
        # Set before the state is read: a later change is then either in the record or announced afterwards.
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
                # Spaces at the end are valid JSON, and cover what was longer before.
                content = self.snapshot().to_json().ljust(self._length)
                os.pwrite(self._file, content, 0)
                self._length = len(content)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError | RuntimeError) -> None:
        # Log once: a full or vanished tmpfs must neither stop requests nor fill the log.
        if self._writable:
            self._writable = False
            reason = error.strerror if isinstance(error, OSError) else error
            self._log.warning("no progress records: %s: %s", self.directory, reason)
            with self._writing:
                # A record that is no longer written would soon look like that of a blocked loop.
                self._remove()

    def _remove(self) -> None:
        if self._file is not None:
            try:
                os.ftruncate(self._file, 0)  # a torn record, if the directory cannot be written
            except OSError as error:
                self._log.debug("%s: %s", self._path, error)
            os.close(self._file)
            self._file = None
        remove(self._path)
        remove(self._temporary)


def remove(path: Path) -> None:
    """Remove a file, unless it is gone or its directory cannot be written."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.debug("%s stays: %s", path, error)


def _remove_dead(directory: Path) -> None:
    """Remove the records of processes that are gone."""
    try:
        paths = [path for path in directory.glob("*.json") if path.stem.isdigit()]
    except OSError:
        return
    for path in paths:
        if process_facts(int(path.stem)) is None:
            remove(path)
            remove(directory / f".{path.stem}.tmp")


# --- the record of this process ---------------------------------------------------------------------------


class _Current:
    """The record of this process, from its first request on."""

    progress: Progress | None = None
    lock = threading.Lock()


def _of_this_process(directory: str | os.PathLike[str] | None, phase: Phase, **options: Any) -> Progress:
    """The record of this process, begun in ``phase`` if there is none yet.

    Not at import: with preload_app the application is imported in the master, whose pid is not the worker's.
    """
    progress = _Current.progress
    if progress is not None:
        return progress
    with _Current.lock:
        progress = _Current.progress
        if progress is not None:
            return progress
        place = Path(directory or os.environ.get(DIRECTORY) or _DEFAULT_DIRECTORY)
        _remove_dead(place)
        progress = _Current.progress = Progress(place, phase=phase, **options)
    atexit.register(progress.close)
    # Without the lock: gevent's start() runs other greenlets, and with preload_app the lock is none of gevent's.
    return progress.start()


def _forget() -> None:
    """In a fork: the record is the parent's, and its threads, one of which may hold the lock, are not here."""
    _Current.progress = None
    _Current.lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)

_keys = itertools.count()


def post_worker_init(worker: Any) -> None:
    """A hook for gunicorn.conf.py, optional: the record begins when the worker is ready, and shows when it drains.

    ``from gte_progress import post_worker_init``
    """
    _of_this_process(None, Phase.READY, stopping=lambda: not worker.alive)


# --- WSGI -------------------------------------------------------------------------------------------------

_StartResponse = Callable[..., Any]
_WsgiApplication = Callable[[dict[str, Any], _StartResponse], Iterable[bytes]]


class WsgiProgress:
    """Records the requests of a WSGI application (PEP 3333)."""

    def __init__(
        self, application: _WsgiApplication, directory: str | os.PathLike[str] | None = None
    ) -> None:
        """``directory``: of the records; by default GTE_PROGRESS_DIR."""
        self._application = application
        self._directory = directory

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        progress = _of_this_process(self._directory, Phase.READY)
        key = next(_keys)
        progress.begin(key, _wsgi_path(environ))
        try:
            answer = self._application(environ, start_response)
        except BaseException:
            progress.end(key)
            raise
        return _WsgiAnswer(answer, progress, key)


def _wsgi_path(environ: dict[str, Any]) -> str:
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    # PEP 3333: the bytes of the path, decoded as latin-1.
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


class _WsgiAnswer:
    """An application's answer: each part renews its request, ``close``, which the server calls, ends it."""

    def __init__(self, answer: Iterable[bytes], progress: Progress, key: int) -> None:
        self._answer = answer
        self._parts: Iterator[bytes] | None = None
        self._progress = progress
        self._key = key

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = iter(self._answer)
        part = next(self._parts)
        self._progress.renew(self._key)
        return part

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._progress.end(self._key)

    def __del__(self) -> None:
        # A server that forgets close() must not leave a request in flight for ever.
        self._progress.end(self._key)


# --- ASGI -------------------------------------------------------------------------------------------------

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_AsgiApplication = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]


class AsgiProgress:
    """Records the HTTP requests of an ASGI 3 application, and the beat of its event loop."""

    def __init__(self, app: _AsgiApplication, directory: str | os.PathLike[str] | None = None) -> None:
        """``directory``: of the records; by default GTE_PROGRESS_DIR."""
        self._app = app
        self._directory = directory
        self._loop: Any = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a websocket is open for as long as it likes
            await self._app(scope, receive, send)

    async def _http(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        progress = self._progress(Phase.READY)
        key = next(_keys)

        async def send_part(message: _Message) -> None:
            progress.renew(key)
            await send(message)

        progress.begin(key, str(scope.get("path", "")))
        try:
            await self._app(scope, receive, send_part)
        finally:
            progress.end(key)

    async def _lifespan(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        progress = self._progress(Phase.BOOTING)

        async def send_state(message: _Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                progress.enter(Phase.READY)
            await send(message)

        try:
            await self._app(scope, receive, send_state)
        except BaseException:
            # The application has no lifespan, and the server goes on without (ASGI, Lifespan Protocol).
            progress.enter(Phase.READY)
            raise

    def _progress(self, phase: Phase) -> Progress:
        progress = _of_this_process(self._directory, phase)
        if phase is Phase.READY and progress.phase is Phase.BOOTING:
            progress.enter(Phase.READY)
        self._keep_beating(progress)
        return progress

    def _keep_beating(self, progress: Progress) -> None:
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # another library's loop, which asyncio's timers do not run in
        if loop is self._loop:
            return
        self._loop = loop

        def beat() -> None:
            progress.beat()
            loop.call_later(_BEAT_INTERVAL, beat)

        beat()
