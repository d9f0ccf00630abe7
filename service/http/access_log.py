"""The lines of the access log for requests that are answered without a thread.

Under overload most requests are refused, and gunicorn's logger took two fifths of what a refusal cost: it makes a
dictionary of thirty entries and a ``LogRecord`` for each line. Here the same line is made of what is in it, and the
lines of all requests that the main loop answers in one pass are written at once.
"""

import contextlib
import functools
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Protocol

# gunicorn's setting ``access_log_format``. No query strings and no referrers: they may contain what people searched
# for. The path is logged as sent (see api/errors.py): gunicorn's own %(U)s is percent-decoded, including line breaks.
# %(D)s is in microseconds. The last field is the name of the API key, or -.
FORMAT = (
    '%(h)s %(t)s "%(m)s %({gte.path}e)s %(H)s" %(s)s %(B)s %(D)sus %({x-request-id}o)s "%(a)s" %({gte.key}e)s'
)


class Answered(Protocol):
    """What the log shows of an answer: ``status`` as in the status line, ``size`` in bytes of the body."""

    @property
    def status(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def identity(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def environ(self) -> dict[str, str]: ...


def line(answer: Answered, seconds: float) -> str:
    """What gunicorn writes in ``FORMAT``."""
    environ = answer.environ
    request = f"{environ['REQUEST_METHOD']} {environ['gte.path']} {environ['SERVER_PROTOCOL']}"
    agent, key = environ["HTTP_USER_AGENT"], environ.get("gte.key", "-")
    return (
        f'{environ["REMOTE_ADDR"]} {_stamp(int(time.time()))} "{_quoted(request)}" {answer.status[:3]} {answer.size}'
        f' {int(seconds * 1_000_000)}us {answer.identity} "{_quoted(agent)}" {_quoted(key)}'
    )


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


class Lines:
    """The lines of the requests that were answered since the last ``write``."""

    def __init__(self, log: Any) -> None:
        """``log``: gunicorn's logger."""
        self._log = log
        self._answers: list[tuple[Answered, float]] = []
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def age(self) -> float:
        """Seconds since the first of them was added."""
        return time.monotonic() - self._since if self._answers else 0.0

    def add(self, answer: Answered, seconds: float) -> None:
        """A request got this answer, which took so long to make and send."""
        if not self._answers:
            self._since = time.monotonic()
        self._answers.append((answer, seconds))

    def write(self) -> None:
        """Write them. Where the access log is not simply lines in our format to a file or stream, gunicorn does it."""
        if not self._answers:
            return
        answers, self._answers = self._answers, []
        if self._is_plain():
            text = "".join([f"{line(answer, seconds)}\n" for answer, seconds in answers])
            for handler in self._log.access_log.handlers:
                _write(handler, text)
            return
        for answer, seconds in answers:
            logged = SimpleNamespace(status=answer.status, sent=answer.size, headers=answer.headers)
            self._log.access(logged, {}, answer.environ, timedelta(seconds=seconds))

    def _is_plain(self) -> bool:
        access_log: logging.Logger = self._log.access_log
        return (
            self._log.cfg.access_log_format == FORMAT
            and all(map(_takes_lines, access_log.handlers))
            and access_log.isEnabledFor(logging.INFO)
            and not access_log.propagate
        )


def _write(handler: Any, text: str) -> None:
    # A full disk, or a stream that is closed: as for gunicorn's lines, no request fails for it.
    with contextlib.suppress(OSError, ValueError), handler.lock or contextlib.nullcontext():
        # The locale of the start decides which characters the stream takes; one that it does not take lost all lines.
        encoding = getattr(handler.stream, "encoding", None) or "ascii"
        handler.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        handler.stream.flush()


def _takes_lines(handler: logging.Handler) -> bool:
    return (
        type(handler) in (logging.FileHandler, logging.StreamHandler)
        and getattr(handler, "stream", None) is not None
        and not handler.filters
        and handler.level <= logging.INFO
        and getattr(handler.formatter, "_fmt", None) == "%(message)s"
    )


@functools.lru_cache(2)
def _stamp(now: int) -> str:
    return time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(now))
