"""The last start's part of a log, and what ended it: gunicorn's own error, a traceback, workers that end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

# gunicorn's lines: "[2026-11-30 06:18:03 +0000] [15129] [ERROR] Reason: Worker failed to boot."
_STAMPED = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:]{8}[^\]]{0,10}\] \[(\d{1,10})\] \[([A-Z]{1,10})\] ?(.*)")
# A line of any logging with a time of its own.
_TIMED = re.compile(r"^\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d")
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "([^"]{1,1000})", line (\d{1,9})(?:, in (\S+))?')
_EXITED = re.compile(
    r"Worker \(pid:\s?(\d+)\) exited with code (\d+)|Worker exiting \(pid: (\d+)\) with code (\d+)"
)
_SIGNALLED = re.compile(
    r"[Ww]orker (?:\(pid:|with pid )\s?(\d+)\)? was (?:sent|terminated due to signal) (\w+)"
)
# Up to gunicorn 20.1 the master does not say that a worker ended with a code; the worker itself says that it does.
_LEAVING = re.compile(r"Worker exiting \(pid: (\d+)\)$")
_TIMED_OUT = re.compile(r"WORKER TIMEOUT \(pid:\s?(\d+)\)")
_BOOTING = re.compile(r"Booting worker with pid: (\d+)")
# Frames through which gunicorn, or a worker of another package, loads the application or starts itself.
_LOADING = re.compile(
    r"gunicorn/app/(?:wsgiapp|base|pasterapp)\.py|gunicorn/util\.py|gunicorn/pidfile\.py|gunicorn/sock\.py"
    r"|gunicorn/config\.py|gunicorn/glogging\.py|gunicorn/workers/workertmp\.py"
    r"|/bin/gunicorn\"|<frozen runpy>|/runpy\.py|starlette/routing\.py\", line \d+, in (?:lifespan|startup)"
    r"|gunicorn/arbiter\.py\", line \d+, in (?:setup|start|init_signals)"
)
_IMPORTING = re.compile(r"in (?:load_wsgi|import_app|load_wsgiapp|load_config_from_module_name_or_filename)$")
_SERVING = re.compile(r"in (?:handle_request|handle|wsgi_app|full_dispatch_request|run_asgi|__call__)$")
# What a shell, an interpreter or a supervisor says where the program itself does not come to run.
_NOT_RUN = re.compile(
    r"(?:not found|No such file or directory|[Pp]ermission denied|bad interpreter.*|cannot execute.*"
    r"|Exec format error|couldn't chdir to /\S+: E[A-Z]+|No module named '?gunicorn'?\S*|can't open file .*)$"
)
_SHELL = re.compile(
    r"^(?:/\S{1,500}|sh|bash|dash|env|nohup|sudo|runuser|exec|\S{1,200}python[\d.]*|supervisor|setpriv"
    r"|\S{1,200}\.service)\b.{0,400}: "
)
# What a server of the application's own says where it is started by the import of its module.
_RUNNING = re.compile(
    r"^ \* (?:Serving Flask app|Running on http)|Port \d+ is in use by another program|Uvicorn running on http"
    r"|Starting development server at"
)
# A worker that lived for longer had loaded the application, seconds.
LONG = 300.0
_GUNICORN = re.compile(r"/bin/gunicorn$|/gunicorn/(?:app/\w+|workers/\w+|arbiter|util|config)\.py$")
_LIBRARY = ("site-packages/", "dist-packages/", "/lib/python", "/lib64/python")


class Ended(msgspec.Struct, frozen=True):
    """How one worker ended: its exit code, its signal, or that it reported nothing within the timeout; ``after`` so
    many seconds."""

    pid: int
    code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    after: float = 0.0


class Trace(msgspec.Struct, frozen=True):
    """A traceback. ``exception``: its last words, over several lines where they are; ``frames``: file, line, function;
    ``is_master``: it ended gunicorn itself, and no worker of it; ``is_cause``: of the traceback behind it."""

    exception: str
    frames: tuple[tuple[str, int, str], ...]
    is_master: bool = False
    is_cause: bool = False

    @property
    def own(self) -> tuple[str, int] | None:
        """The last frame that lies in no library: the application's."""
        for path, line, _ in reversed(self.frames):
            is_library = path.startswith("<") or any(mark in path for mark in _LIBRARY)
            if not is_library and not _GUNICORN.search(path):
                return path, line
        return None

    @property
    def last(self) -> tuple[str, int] | None:
        """The last frame that has a file."""
        return next(
            ((path, line) for path, line, _ in reversed(self.frames) if not path.startswith("<")), None
        )


class StartReading(msgspec.Struct, frozen=True):
    """What one source says of the last start.

    ``error``: gunicorn's own last word before it ended ('Error: ...', a usage, a shell's complaint); ``binds``: its
    complaints about the address; ``traces``: of loading, oldest first; ``ends``: of workers; ``is_over``: the master
    gave up, by these words; ``serves_itself``: a server of the application's own began to run; ``tail``:
    the last lines as they are."""

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
        """Whether these are the words of a start that failed, whatever the reason."""
        return bool(
            self.error
            or self.is_over
            or self.loops
            or self.serves_itself
            or any(t.is_master for t in self.traces)
        )

    @property
    def loops(self) -> bool:
        """Whether workers end as soon as they have begun, again and again."""
        return len(self.ends) >= 2


def last_start(lines: Sequence[str]) -> tuple[str, ...]:
    """Of a log's lines, oldest first, those of the last start.

    It begins with gunicorn's 'Starting gunicorn' or the reload that came after, or behind the orderly end of the run
    before: what fails before gunicorn has a logger has no such line."""
    begin = 0
    for at, line in enumerate(lines):
        if "Starting gunicorn " in line or "Hang up: Master" in line:
            begin = at
        elif "Shutting down: Master" in line and not any("Reason: " in x for x in lines[at + 1 : at + 3]):
            begin = at + 1
    return tuple(lines[begin:])


def read_start(lines: Sequence[str]) -> StartReading:
    """What the lines of one start (`last_start`) say."""
    shown = [line for line in lines if line.strip()]
    stamped = [_STAMPED.match(line) for line in shown]
    last_timed = max((at for at, line in enumerate(shown) if _TIMED.match(line)), default=-1)
    words = [found[3] if found else line for line, found in zip(shown, stamped, strict=True)]
    reason = next((w.partition("Reason: ")[2] for w in reversed(words) if w.startswith("Reason: ")), None)
    gave_up = reason is not None or any(w.startswith("Can't connect to ") for w in words)
    traces = tuple(_traces(shown, last_timed))
    error = _own_error(shown, last_timed)
    return StartReading(
        tail=tuple(shown[-12:]),
        error=error,
        binds=tuple(
            w for w in words if w.startswith(("connection to ", "Connection in use", "Invalid address"))
        ),
        traces=traces,
        ends=_ends(shown),
        is_over=gave_up or bool(error),
        reason=reason,
        serves_itself=next((line.strip() for line in reversed(shown) if _RUNNING.search(line)), None),
    )


def _own_error(shown: Sequence[str], last_timed: int) -> str | None:
    """gunicorn's 'Error: ...' and its like, where nothing with a time stands behind it."""
    for at in range(len(shown) - 1, last_timed, -1):
        line = shown[at].strip()
        if line.startswith("Error: "):
            return line.removeprefix("Error: ").removeprefix("Error: ") + _class_detail(shown[at + 1 :])
        if re.match(r"(?:gunicorn|__main__\.py): error: ", line):
            return line.partition(": error: ")[2]
        if _SHELL.match(line) and _NOT_RUN.search(line):
            return line
        if line.startswith("Failed to read config file: "):
            return line
    return None


def _class_detail(behind: Sequence[str]) -> str:
    """The exception behind "class uri '...' invalid or not found:", which has its traceback in brackets."""
    if not behind or not behind[0].startswith("["):
        return ""
    raised = [line.strip() for line in behind if re.match(r"[A-Za-z_][\w.]*(?:Error|Exception)\b", line)]
    return f" {raised[-1]}" if raised else ""


def _traces(shown: Sequence[str], last_timed: int) -> list[Trace]:
    """The tracebacks of loading, each with what ended it. A request's are none of the start's."""
    found = []
    is_next = False
    for at, line in enumerate(shown):
        if not line.strip().endswith(_TRACEBACK):
            continue
        frames: list[tuple[str, int, str]] = []
        raw: list[str] = []
        exception: list[str] = []
        is_cause = is_chained = False
        for following in shown[at + 1 :]:
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
        before = shown[at - 1] if at else ""
        named = is_next or "Exception in worker process" in before or "Exception in worker process" in line
        is_import = any(_IMPORTING.search(x.strip()) for x in raw)
        if not (named or is_import) and (
            not _LOADING.search(text) or any(_SERVING.search(x.strip()) for x in raw)
        ):
            is_next = False
            continue
        # One that is chained to it is told in the same breath.
        is_next = named and is_chained
        # A worker's stands inside the log of its master; one that ended gunicorn has nothing behind it.
        is_master = not named and at > last_timed and "init_process" not in text
        found.append(Trace("\n".join(exception).strip(), tuple(frames), is_master, is_cause))
    return found


def _ends_exception(exception: Sequence[str], following: str) -> bool:
    """gunicorn prints an exception's words a second time, for standard error."""
    words = exception[0].partition(": ")[2] or exception[0]
    return following.strip() == words.strip() or following.startswith(words[:60]) or len(exception) > 20


def _ends(lines: Sequence[str]) -> tuple[Ended, ...]:
    """How workers ended that were booted in these lines, oldest first; none where one of them outlived a later one, or
    lived for long: then it is no start that fails, but a worker that failed."""
    booted: dict[int, datetime | None] = {}
    ends: dict[int, Ended] = {}
    for line in lines:
        found = _STAMPED.match(line)
        if found is None:
            continue
        at, words = _moment(line), found[3]
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
    return tuple(end for end in ends.values() if end.after <= LONG)


def _leaving(lines: Sequence[str], booted: Mapping[int, datetime | None]) -> dict[int, Ended]:
    """Workers that said that they end, of at least three: one that ends now and then has served."""
    ends: dict[int, Ended] = {}
    for line in lines:
        found = _STAMPED.match(line)
        left = _LEAVING.search(found[3]) if found else None
        if left is None or int(left[1]) not in booted:
            continue
        at, since = _moment(line), booted[int(left[1])]
        after = (at - since).total_seconds() if at and since else 0.0
        ends[int(left[1])] = Ended(int(left[1]), code=1, after=after)
    return ends if len(ends) > 2 else {}


def _end_of(words: str) -> Ended | None:
    if found := _EXITED.search(words):
        code = int(found[2] or found[4])
        return Ended(int(found[1] or found[3]), code=code) if code else None
    if found := _SIGNALLED.search(words):
        return Ended(int(found[1]), signal=found[2].rstrip("!."))
    found = _TIMED_OUT.search(words)
    return Ended(int(found[1]), timed_out=True) if found else None


def _moment(line: str) -> datetime | None:
    try:
        return datetime.fromisoformat(line[1:20])
    except ValueError:
        return None
