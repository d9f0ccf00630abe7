"""Starting the sending process, and never waiting for it past the deadline."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import ops
from ops.notifications.delivery_result import MAX_RETRY_AFTER_S, DeliveryResult
from ops.notifications.sandbox import environment_for_sending
from ops.notifications.worker import Report, Round
from ops.text.language import Text
from ops.text.sanitize import safe_line

# The sender gives up a little before it is ended, so that it can report why.
_MARGIN_S = 0.5
_MAX_LINE_BYTES = 1 << 16
_MAX_REASON_CHARS = 400


def send_round(work: Round, report: Callable[[Report], None]) -> None:
    """Send everything in ``work`` within ``work.within`` seconds, calling ``report`` with each result.

    A destination's next letter is sent after ``report`` returned for the one before it. A letter without a result was
    not settled in time. The process reads untrusted answers: whatever it writes, each letter is reported at most once.
    Raises OSError if no process can be started.
    """
    deadline = time.monotonic() + work.within
    handed = msgspec.structs.replace(work, within=max(0.5, work.within - _MARGIN_S))
    # -P: the working directory is not searched for modules; cron and systemd may run this anywhere.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ops.notifications.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    try:
        numbers = {letter.number for _, letters in work.routes for letter in letters}
        _converse(process, msgspec.json.encode(handed) + b"\n", deadline, numbers, report)
    finally:
        _end(process)


def _converse(
    process: subprocess.Popen[bytes],
    work: bytes,
    deadline: float,
    unreported: set[int],
    report: Callable[[Report], None],
) -> None:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:  # pipes were asked for
        return
    with contextlib.suppress(BrokenPipeError):
        # At most some tens of kilobytes; a child that does not read them is ended at the deadline below.
        os.set_blocking(stdin.fileno(), False)
        while work and (seconds_left := deadline - time.monotonic()) > 0:
            try:
                work = work[os.write(stdin.fileno(), work) :]
            except BlockingIOError:
                time.sleep(min(0.01, seconds_left))
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while (seconds_left := deadline - time.monotonic()) > 0 and len(received) < _MAX_LINE_BYTES:
            if not selector.select(seconds_left):
                return
            chunk = os.read(stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, received = (received + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError):
                    received_report = msgspec.json.decode(line, type=Report)
                    if received_report.number not in unreported:
                        continue
                    unreported.remove(received_report.number)
                    report(_bounded(received_report))
                    with contextlib.suppress(OSError):
                        os.write(stdin.fileno(), b"%d\n" % received_report.number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, and reap it."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    # It leads a session of its own and has not been reaped yet, so the process group is certainly its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _bounded(report: Report) -> Report:
    """A report, sanitised for showing and storing."""
    result = report.verdict
    reason = Text(
        en=safe_line(result.reason.en, _MAX_REASON_CHARS), zh=safe_line(result.reason.zh, _MAX_REASON_CHARS)
    )
    pause = None if result.retry_after is None else min(max(result.retry_after, 0.0), MAX_RETRY_AFTER_S)
    return Report(report.number, DeliveryResult(result.outcome, reason, pause), max(report.seconds, 0.0))


def _environment() -> dict[str, str]:
    """The sending process's environment: part of the parent's, with this package first on the module path."""
    environment = environment_for_sending(os.environ)
    here = str(Path(ops.__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
    return environment
