"""The service under test, a WSGI application with our progress records, and the places where faults are put in.

It writes down, in the file ``ledger`` of its directory, each start of a worker and the begin and end of each request:
``<seconds since boot> <pid> <event> [<request>]``. So a request that failed can be charged to the worker that had it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.watchdog_recovery.clock import now
from service.monitoring import progress

HOME = Path(os.environ["BENCHMARK_HOME"])
_ledger = os.open(HOME / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
PATH_SECONDS = {"/work": 0.02, "/slow": 1.0}


def note(event: str, subject: str = "") -> None:
    """One line, whole: O_APPEND writes this short do not mix."""
    os.write(_ledger, f"{now():.3f} {os.getpid()} {event} {subject}\n".encode())


def _stick() -> None:
    threading.Event().wait()


def _boot() -> None:
    note("boot")
    if (HOME / "broken").exists():
        note("crash")
        raise RuntimeError("the cause of the crash loop is still there")
    for token in sorted(HOME.glob("hang-*")):
        try:
            token.unlink()
        except FileNotFoundError:
            continue  # another worker took it
        note("hang")
        _stick()
    record = progress.current()
    if record is not None:
        record.enter(progress.Phase.READY)
    note("ready")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """/health and /ready at once; /work and /slow after a while; /stick never, in the worker named in ``victim``."""
    path, request = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    if path == "/stick":
        if (HOME / "victim").read_text() == str(os.getpid()):
            note("stuck")
            _stick()
    elif path in PATH_SECONDS:
        note("begin", request)
        time.sleep(PATH_SECONDS[path])
        note("end", request)
    body = b'{"status": "ok"}'
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Worker", str(os.getpid())),
    ]
    start_response("200 OK", headers)
    return [body]


_boot()
