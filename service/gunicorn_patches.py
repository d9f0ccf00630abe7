"""Changes to three behaviours of gunicorn's workers for which gunicorn has no setting.

Each replaces one function, and does nothing if a version of gunicorn lacks it. ``tests/system/test_service_api.py``
tests them.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

from gunicorn import util  # type: ignore[import-untyped,unused-ignore]

from service.http.problems import PROBLEM_JSON, from_http_status
from service.http.request_id import HEADER, choose

# Connections that may linger at once; further ones are closed without waiting for the client.
_MOST_LINGERING = 64


def answer_parse_errors_in_json() -> None:
    """Answer requests that gunicorn cannot parse, which never reach the application, in JSON instead of HTML."""
    if hasattr(util, "write_error"):
        util.write_error = _write_problem


def linger_aside() -> None:
    """Let closing connections linger in threads of their own.

    Gunicorn 27 waits up to 2 s for the client to close its end too, so that the last bytes are not lost. With gthread
    it waits in the worker's main loop, which accepts nothing meanwhile: one client that asks for ``Connection:
    close`` and keeps its socket open delays all others, ``/health`` included.
    """
    wait_and_close = getattr(util, "close_graceful", None)
    if wait_and_close is None:
        return
    places = BoundedSemaphore(_MOST_LINGERING)
    lingering = ThreadPoolExecutor(max_workers=_MOST_LINGERING, thread_name_prefix="linger")

    def close_aside(sock: Any) -> None:
        if not places.acquire(blocking=False):
            util.close(sock)
            return
        try:
            lingering.submit(wait_and_close, sock).add_done_callback(lambda _done: places.release())
        except RuntimeError:  # the interpreter is shutting down
            places.release()
            util.close(sock)

    util.close_graceful = close_aside


def reopen_logs_one_at_a_time(worker: Any) -> None:
    """Let a second USR1 wait for the first, whose handler it would otherwise interrupt.

    With ``capture_output`` gunicorn reopens the error log under a lock that its own thread cannot take twice. Two
    signals that arrive together (two rotations while the master was busy) block the worker's main loop for ever: it
    accepts no connection any more. Call this in ``post_fork``, which comes before ``worker.init_signals``.
    """
    reopen = getattr(worker, "handle_usr1", None)
    if reopen is None:
        return
    is_pending = is_running = False

    def handle_usr1(signum: int, frame: Any) -> None:
        nonlocal is_pending, is_running
        is_pending = True
        while is_pending and not is_running:
            is_running, is_pending = True, False
            try:
                reopen(signum, frame)
            finally:
                is_running = False

    worker.handle_usr1 = handle_usr1


def _write_problem(sock: Any, status_int: int, reason: str, _mesg: str) -> None:
    # gunicorn's own message may quote the request; the reason is enough.
    request_id = choose(None)
    body = json.dumps(from_http_status(status_int, reason).details(request_id)).encode()
    head = (
        f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: {PROBLEM_JSON}\r\n"
        f"{HEADER}: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
