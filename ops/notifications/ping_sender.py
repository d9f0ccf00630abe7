"""The process that sends one request of the dead man's switch: `python -m ops.notifications.ping_sender`.

It reads one JSON line from standard input and writes one: whether the request was accepted. It follows no redirect,
takes proxies as notifications do, and reads the answer's head alone. The kernel ends it when its time is over, also in
a resolver that hangs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time

import msgspec

from ops import __version__
from ops.notifications.delivery_result import ACCEPTED, DeliveryOutcome, DeliveryResult, judge_status
from ops.notifications.destination import scrubbed
from ops.notifications.ping import PingRequest
from ops.text.language import verbatim


def send(request: PingRequest) -> DeliveryResult:
    """Send the request; what its answer's status says."""
    import requests

    try:
        with requests.get(
            request.url,
            timeout=request.within,
            allow_redirects=False,
            stream=True,
            headers={"User-Agent": f"gte-ops/{__version__}"},
        ) as answer:
            if 200 <= answer.status_code < 300:
                return ACCEPTED
            return judge_status(answer.status_code, answer.headers, time.time())
    except (requests.RequestException, ValueError, OSError) as error:
        return DeliveryResult(DeliveryOutcome.FAILED, verbatim(scrubbed(_reason(error), request.url)))


def _reason(error: BaseException) -> str:
    """The innermost error: the outer ones quote the URL and each other."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words or type(error).__name__


def main() -> None:
    """Send the request from standard input."""
    from ops.notifications import proxy_bypass, sandbox

    logging.disable(logging.CRITICAL)
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=PingRequest)
    proxy_bypass.install()
    # Where a unit withholds CAP_SETUID, the unit is the sandbox: only an answer's head is read here.
    with contextlib.suppress(OSError):
        sandbox.enter((), request.ca_file)
    signal.setitimer(signal.ITIMER_REAL, request.within)
    result = send(request)
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
