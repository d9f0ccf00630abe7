"""Read the last start from a log, and what ended it: gunicorn's own error, a traceback, or exiting workers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ops.facts.start import LastStart

# gunicorn's lines: "[2026-11-30 06:18:03 +0000] [15129] [ERROR] Reason: Worker failed to boot."
_STAMPED = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:]{8}[^\]]{0,10}\] \[(\d{1,10})\] \[([A-Z]{1,10})\] ?(.*)")
# A log line of any program that begins with a time.
_TIMED = re.compile(r"^\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d")
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "([^"]{1,1000})", line (\d{1,9})(?:, in (\S+))?')
_EXITED = re.compile(
    r"Worker \(pid:\s?(\d+)\) exited with code (\d+)|Worker exiting \(pid: (\d+)\) with code (\d+)"
)
_SIGNALLED = re.compile(
    r"[Ww]orker (?:\(pid:|with pid )\s?(\d+)\)? was (?:sent|terminated due to signal) (\w+)"
)
# Up to gunicorn 20.1 the master does not log a worker's exit code; only the worker logs that it exits.
_LEAVING = re.compile(r"Worker exiting \(pid: (\d+)\)$")
_TIMED_OUT = re.compile(r"WORKER TIMEOUT \(pid:\s?(\d+)\)")
_BOOTING = re.compile(r"Booting worker with pid: (\d+)")
# A worker logs these under its own pid, so it had loaded the application.
_AT_WORK = re.compile(
    r"^(?:Error handling (?:HTTP/2 )?request|Socket error processing request|Exception in post_request hook"
    r"|Autorestarting worker after|Invalid request from)"
)
# Frames in which gunicorn, or another package's worker, loads the application or starts itself.
_LOADING = re.compile(
    r"gunicorn/app/(?:wsgiapp|base|pasterapp)\.py|gunicorn/util\.py|gunicorn/pidfile\.py|gunicorn/sock\.py"
    r"|gunicorn/config\.py|gunicorn/glogging\.py|gunicorn/workers/workertmp\.py"
    r"|/bin/gunicorn\"|<frozen runpy>|/runpy\.py|starlette/routing\.py\", line \d+, in (?:lifespan|startup)"
    r"|gunicorn/arbiter\.py\", line \d+, in (?:setup|start|init_signals)"
)
_IMPORTING = re.compile(r"in (?:load_wsgi|import_app|load_wsgiapp|load_config_from_module_name_or_filename)$")
_SERVING = re.compile(r"in (?:handle_request|handle|wsgi_app|full_dispatch_request|run_asgi|__call__)$")
# Messages of a shell, an interpreter or a supervisor that cannot run the program.
_NOT_RUN = re.compile(
    r"(?:not found|No such file or directory|[Pp]ermission denied|bad interpreter.*|cannot execute.*"
    r"|Exec format error|couldn't chdir to /\S+: E[A-Z]+|No module named '?gunicorn'?\S*|can't open file .*)$"
)
_SHELL = re.compile(
    r"^(?:/\S{1,500}|sh|bash|dash|env|nohup|sudo|runuser|exec|\S{1,200}python[\d.]*|supervisor|setpriv"
    r"|\S{1,200}\.service)\b.{0,400}: "
)
# Messages of the application's own server if importing the module starts it.
_RUNNING = re.compile(
    r"^ \* (?:Serving Flask app|Running on http)|Port \d+ is in use by another program|Uvicorn running on http"
    r"|Starting development server at"
)
# A worker that lived longer than this, seconds, had loaded the application.
LONG = 300.0
_GUNICORN = re.compile(r"/bin/gunicorn$|/gunicorn/(?:app/\w+|workers/\w+|arbiter|util|config)\.py$")
_LIBRARY = ("site-packages/", "dist-packages/", "/lib/python", "/lib64/python")
_HALT = "gunicorn.errors.HaltServer"


class Ended(msgspec.Struct, frozen=True):
    """The end of one worker: by exit code, signal, or timeout. ``after``: its lifetime in seconds."""

    pid: int
    code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    after: float = 0.0


class Trace(msgspec.Struct, frozen=True):
    """A traceback. ``exception``: its message, which may have several lines; ``frames``: file, line, function;
    ``is_master``: it ended gunicorn's master, not a worker; ``is_cause``: it is the direct cause of the next one;
    ``statements``: the source lines that it shows, outermost first."""

    exception: str
    frames: tuple[tuple[str, int, str], ...]
    is_master: bool = False
    is_cause: bool = False
    statements: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[str, int] | None:
        """File and line of the last frame in the application's own code, not in a library or gunicorn."""
        for path, line, _ in reversed(self.frames):
            is_library = path.startswith("<") or any(mark in path for mark in _LIBRARY)
            if not is_library and not _GUNICORN.search(path):
                return path, line
        return None

    @property
    def last(self) -> tuple[str, int] | None:
        """File and line of the last frame that has a file."""
        return next(
            ((path, line) for path, line, _ in reversed(self.frames) if not path.startswith("<")), None
        )


class StartReading(msgspec.Struct, frozen=True):
    """One source's lines of the last start, parsed.

    ``error``: gunicorn's last error before it ended ('Error: ...', a usage error, a shell's message); ``binds``: its
    errors about the address; ``traces``: of loading, oldest first; ``ends``: of workers; ``is_over``: the lines show
    that the master gave up; ``reason``: its 'Reason: ...'; ``serves_itself``: a line of the application's own server,
    which began to run; ``tail``: the last lines, unchanged."""

    tail: tuple[str, ...]
    error: str | None = None
    binds: tuple[str, ...] = ()
    traces: tuple[Trace, ...] = ()
    ends: tuple[Ended, ...] = ()
    is_over: bool = False
    reason: str | None = None
    serves_itself: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether these lines are from a failed start, for whatever reason."""
        return bool(
            self.error
            or self.is_over
            or self.loops
            or self.serves_itself
            or any(t.is_master for t in self.traces)
        )

    @property
    def loops(self) -> bool:
        """Whether several workers ended soon after their boot."""
        return len(self.ends) >= 2


def last_start(lines: Sequence[str]) -> tuple[str, ...]:
    """Return those of a log's lines, oldest first, that belong to the last start.

    It begins at gunicorn's 'Starting gunicorn' or a later reload, or after the orderly end of the previous run: a
    start that fails before gunicorn has a logger has no line of its own."""
    begin = 0
    for at, line in enumerate(lines):
        if "Starting gunicorn " in line or "Hang up: Master" in line:
            begin = at
        elif "Shutting down: Master" in line and not any("Reason: " in x for x in lines[at + 1 : at + 3]):
            begin = at + 1
    return tuple(lines[begin:])


def read_start(lines: Sequence[str]) -> StartReading:
    """Parse the lines of one start (`last_start`)."""
    nonblank = _without_orphans([line for line in lines if line.strip()])
    stamped = [_STAMPED.match(line) for line in nonblank]
    last_timed = max((at for at, line in enumerate(nonblank) if _TIMED.match(line)), default=-1)
    words = [match[3] if match else line for line, match in zip(nonblank, stamped, strict=True)]
    reason = next((w.partition("Reason: ")[2] for w in reversed(words) if w.startswith("Reason: ")), None)
    is_halted = bool(nonblank) and nonblank[-1].startswith(_HALT)
    gave_up = is_halted or reason is not None or any(w.startswith("Can't connect to ") for w in words)
    traces = tuple(_traces(nonblank, last_timed))
    error = _own_error(nonblank, last_timed)
    return StartReading(
        tail=tuple(nonblank[-12:]),
        error=error,
        binds=tuple(
            w for w in words if w.startswith(("connection to ", "Connection in use", "Invalid address"))
        ),
        traces=traces,
        ends=_ends(nonblank),
        is_over=gave_up or bool(error),
        reason=reason,
        serves_itself=next((line.strip() for line in reversed(nonblank) if _RUNNING.search(line)), None),
    )


def _without_orphans(lines: list[str]) -> list[str]:
    """The lines without those by which workers leave after the master has ended: they are no sign that it went on."""
    end = len(lines)
    while end and _LEAVING.search(lines[end - 1]):
        end -= 1
    return lines[:end] if end and lines[end - 1].startswith(_HALT) else lines


def _own_error(lines: Sequence[str], last_timed: int) -> str | None:
    """Return gunicorn's 'Error: ...' or a similar line, if no line with a time follows it."""
    for at in range(len(lines) - 1, last_timed, -1):
        line = lines[at].strip()
        if line.startswith("Fatal Python error: "):
            # Python shows its path before, and what it did not find after (PEP 587).
            raised = next((x.strip() for x in lines[at + 1 :] if "Error: " in x), "")
            home = next((x.strip() for x in lines[:at] if x.strip().startswith("PYTHONHOME = ")), "")
            return " ".join(filter(None, (line, raised, home)))
        if line.startswith("Error: "):
            return line.removeprefix("Error: ").removeprefix("Error: ") + _class_detail(lines[at + 1 :])
        if re.match(r"(?:gunicorn|__main__\.py): error: ", line):
            return line.partition(": error: ")[2]
        if _SHELL.match(line) and _NOT_RUN.search(line):
            return line
        if line.startswith("Failed to read config file: "):
            return line
    return None


def _class_detail(behind: Sequence[str]) -> str:
    """Return the exception after "class uri '...' invalid or not found:", which has its traceback in brackets."""
    if not behind or not behind[0].startswith("["):
        return ""
    raised = [line.strip() for line in behind if re.match(r"[A-Za-z_][\w.]*(?:Error|Exception)\b", line)]
    return f" {raised[-1]}" if raised else ""


def _traces(lines: Sequence[str], last_timed: int) -> list[Trace]:
    """Return the tracebacks of loading, each with its exception. A request's tracebacks do not belong to the start."""
    traces = []
    is_next = False
    for at, line in enumerate(lines):
        if not line.strip().endswith(_TRACEBACK):
            continue
        frames: list[tuple[str, int, str]] = []
        raw: list[str] = []
        exception: list[str] = []
        is_cause = is_chained = False
        for following in lines[at + 1 :]:
            frame = _FRAME.match(following)
            is_cause = following.startswith("The above exception was the direct cause")
            is_chained = is_cause or following.startswith("During handling of the above")
            if frame is not None and not exception:
                frames.append((frame[1], int(frame[2]), frame[3] or ""))
                raw.append(following)
            elif following.startswith((" ", "\t")) and not exception:
                raw.append(following)
            elif (
                _TIMED.match(following)
                or following.strip().endswith(_TRACEBACK)
                or following.startswith(("During handling of the above", "The above exception was"))
                or (exception and _ends_exception(exception, following))
            ):
                break
            else:
                exception.append(following)
        text = "\n".join(raw)
        before = lines[at - 1] if at else ""
        is_of_worker = (
            is_next or "Exception in worker process" in before or "Exception in worker process" in line
        )
        is_import = any(_IMPORTING.search(x.strip()) for x in raw)
        if not (is_of_worker or is_import) and (
            not _LOADING.search(text) or any(_SERVING.search(x.strip()) for x in raw)
        ):
            is_next = False
            continue
        # A traceback chained to this one follows directly and belongs to the same failure.
        is_next = is_of_worker and is_chained
        # The master's log goes on after a worker's traceback; nothing follows one that ended gunicorn.
        is_master = not is_of_worker and at > last_timed and "init_process" not in text
        traces.append(Trace("\n".join(exception).strip(), tuple(frames), is_master, is_cause, _shown(raw)))
    # With it the master ends because a worker did (gunicorn: arbiter.py, reap_workers): that worker's is the reason.
    return [trace for trace in traces if not trace.exception.startswith(_HALT)] or traces


def _shown(raw: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.strip() for line in raw if not _FRAME.match(line))


def _ends_exception(exception: Sequence[str], following: str) -> bool:
    """Whether ``following`` ends the exception: gunicorn prints its message a second time, for standard error."""
    words = exception[0].partition(": ")[2] or exception[0]
    return following.strip() == words.strip() or following.startswith(words[:60]) or len(exception) > 20


def _ends(lines: Sequence[str]) -> tuple[Ended, ...]:
    """Return the ends of workers that were booted in these lines, oldest first, without those that lived for long
    or handled a request. Return none if a worker outlives a later one: then the start succeeded, and
    only a worker failed."""
    booted: dict[int, datetime | None] = {}
    ends: dict[int, Ended] = {}
    loaded: set[int] = set()
    for line in lines:
        match = _STAMPED.match(line)
        if match is None:
            continue
        at, words = _moment(line), match[3]
        if _AT_WORK.match(words):
            loaded.add(int(match[1]))
        if boot := _BOOTING.search(words):
            booted[int(boot[1])] = at
        elif (end := _end_of(words)) is not None and end.pid in booted:
            since = booted[end.pid]
            end = msgspec.structs.replace(end, after=(at - since).total_seconds() if at and since else 0.0)
            ends.setdefault(end.pid, end)
    if not ends and not any("Autorestarting" in line or "Handling signal" in line for line in lines):
        ends = _leaving(lines, booted)
    living = [pid for pid in booted if pid not in ends]
    if living and set(living) != set(list(booted)[-len(living) :]):
        return ()
    return tuple(end for end in ends.values() if end.after <= LONG and end.pid not in loaded)


def _leaving(lines: Sequence[str], booted: Mapping[int, datetime | None]) -> dict[int, Ended]:
    """Return the workers that logged their exit, if there are at least three: fewer may have ended after serving."""
    ends: dict[int, Ended] = {}
    for line in lines:
        match = _STAMPED.match(line)
        exit_match = _LEAVING.search(match[3]) if match else None
        if exit_match is None or int(exit_match[1]) not in booted:
            continue
        at, since = _moment(line), booted[int(exit_match[1])]
        after = (at - since).total_seconds() if at and since else 0.0
        ends[int(exit_match[1])] = Ended(int(exit_match[1]), code=1, after=after)
    return ends if len(ends) > 2 else {}


def _end_of(words: str) -> Ended | None:
    if match := _EXITED.search(words):
        code = int(match[2] or match[4])
        return Ended(int(match[1] or match[3]), code=code) if code else None
    if match := _SIGNALLED.search(words):
        return Ended(int(match[1]), signal=match[2].rstrip("!."))
    match = _TIMED_OUT.search(words)
    return Ended(int(match[1]), timed_out=True) if match else None


def _moment(line: str) -> datetime | None:
    try:
        return datetime.fromisoformat(line[1:20])
    except ValueError:
        return None


def first_line(words: str) -> str:
    return words.partition("\n")[0].strip()


def is_in(trace: Trace, *parts: str) -> bool:
    return any(part in path for path, _, _ in trace.frames for part in parts)


def mentioned(trace: Trace, last: LastStart | None, endings: tuple[str, ...]) -> str | None:
    """Return the file that the traceback's statements name, the innermost first, else one that their module opens."""
    own = [f"{path}:{line}" for path, line, _ in reversed(trace.frames)]
    mentions = [m for frame in own for m in (last.mentions if last else ()) if m.frame == frame and m.file]
    fitting = [m for m in mentions if (m.file or "").endswith(endings)]
    return next((m.file for m in sorted(fitting, key=lambda m: m.is_near)), None)
