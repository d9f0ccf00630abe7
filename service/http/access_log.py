"""The lines of the access log for requests that are answered without a thread.

Under overload most requests are refused, and gunicorn's logger took two fifths of what a refusal cost: it makes a
dictionary of thirty entries and a ``LogRecord`` for each line. Here the same line is made of what is in it.
"""

import contextlib
import functools
import logging
import time
from collections.abc import Mapping
from typing import Any

# gunicorn's setting ``access_log_format``. No query strings and no referrers: they may contain what people searched
# for. The path is logged as sent (see api/errors.py): gunicorn's own %(U)s is percent-decoded, including line breaks.
# %(D)s is in microseconds. The last field is the name of the API key, or -.
FORMAT = (
    '%(h)s %(t)s "%(m)s %({gte.path}e)s %(H)s" %(s)s %(B)s %(D)sus %({x-request-id}o)s "%(a)s" %({gte.key}e)s'
)


def line(environ: Mapping[str, str], status: str, size: int, seconds: float, identity: str) -> str:
    """What gunicorn writes in ``FORMAT``. ``status``: as in the status line; ``size``: of the body."""
    request = f"{environ['REQUEST_METHOD']} {environ['gte.path']} {environ['SERVER_PROTOCOL']}"
    agent, key = environ["HTTP_USER_AGENT"], environ.get("gte.key", "-")
    return (
        f'{environ["REMOTE_ADDR"]} {_stamp(int(time.time()))} "{_quoted(request)}" {status[:3]} {size}'
        f' {int(seconds * 1_000_000)}us {identity} "{_quoted(agent)}" {_quoted(key)}'
    )


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


def write(log: Any, text: str) -> bool:
    """Write the line to gunicorn's access log (``log``: gunicorn's logger). False: it is not simply lines in our format
    to a file or stream, so its own function has to."""
    if log.cfg.access_log_format != FORMAT:
        return False
    access_log: logging.Logger = log.access_log
    handlers = access_log.handlers
    if (
        not all(map(_takes_lines, handlers))
        or not access_log.isEnabledFor(logging.INFO)
        or access_log.propagate
    ):
        return False
    for handler in handlers:
        # A full disk, or a stream that is closed: as for gunicorn's lines, no request fails for it.
        with contextlib.suppress(OSError, ValueError), handler.lock or contextlib.nullcontext():
            stream = handler.stream  # type: ignore[attr-defined]
            stream.write(f"{text}\n")
            stream.flush()
    return True


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
