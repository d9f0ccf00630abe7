"""Three things that gunicorn does in a worker and that this service needs otherwise.

Each replaces one function, which gunicorn has no setting for, and leaves another version's function alone where
it does not look as expected. ``tests/system/test_service_api.py`` watches them.
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
    """What gunicorn cannot parse never reaches the application; let it answer that in JSON, not in HTML."""
    if hasattr(util, "write_error"):
        util.write_error = _write_problem


def linger_aside() -> None:
    """Let a connection that is being closed linger in a thread of its own.

    Gunicorn 27 waits up to 2 s for the client to close its end too, so that the last bytes are not cut off.
    With gthread it waits in the worker's main loop, which accepts nothing meanwhile: one client that asks for
    ``Connection: close`` and then keeps its socket open holds up every other, ``/health`` included.
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
        except RuntimeError:  # the interpreter is ending and takes no more work
            places.release()
            util.close(sock)

    util.close_graceful = close_aside


def reopen_logs_one_at_a_time(worker: Any) -> None:
    """Let a second USR1 wait for the first, whose handler it would otherwise interrupt.

    With ``capture_output`` gunicorn reopens the error log under a lock that its own thread cannot take twice. Two
    signals that arrive together (two rotations while the master was busy) stop the worker's main loop for good:
    no connection is accepted any more. To be called before ``worker.init_signals``, which is after ``post_fork``.
    """
    reopen = getattr(worker, "handle_usr1", None)
    if reopen is None:
        return
    wanted = running = False

    def handle_usr1(signum: int, frame: Any) -> None:
        nonlocal wanted, running
        wanted = True
        while wanted and not running:
            running, wanted = True, False
            try:
                reopen(signum, frame)
            finally:
                running = False

    worker.handle_usr1 = handle_usr1


def _write_problem(sock: Any, status_int: int, reason: str, _mesg: str) -> None:
    # gunicorn's own message may quote the request; the reason says enough.
    request_id = choose(None)
    body = json.dumps(from_http_status(status_int, reason).details(request_id)).encode()
    head = (
        f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: {PROBLEM_JSON}\r\n"
        f"{HEADER}: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
