"""Send a signal to exactly the process that was meant."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from ops.errors import OpsError
from ops.interpret.process_ref import ProcessRef


class GoneError(OpsError):
    """The process has ended. Its pid may be another process's by now, which got no signal."""


class NotAllowedError(OpsError):
    """The process belongs to another user."""


def send(process: ProcessRef, number: signal.Signals) -> None:
    """Send one signal to ``process``, and never to another one. Raises GoneError, NotAllowedError.

    A pidfd (pidfd_open(2)) refers to the same process for ever, so that its start time is verified without a race."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise GoneError(f"process {process.pid} has ended") from None
    except (AttributeError, OSError):  # Linux before 5.3
        descriptor = -1
    try:
        if not is_alive(process):
            raise GoneError(f"process {process.pid} has ended; its pid is not the one that was meant")
        if descriptor >= 0:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        raise GoneError(f"process {process.pid} has ended") from None
    except PermissionError:
        raise NotAllowedError(
            f"process {process.pid} is another user's; run the watchdog as root or as the service's user"
        ) from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def is_alive(process: ProcessRef) -> bool:
    """Whether exactly this process still runs. A zombie does not."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        return fields[0] not in ("Z", "X") and int(fields[19]) == process.start_ticks
    except (OSError, IndexError, ValueError):
        return False


def wait_until_gone(processes: Iterable[ProcessRef], seconds: float) -> tuple[ProcessRef, ...]:
    """Wait at most ``seconds`` for ``processes`` to end; returns those that did not."""
    deadline = time.monotonic() + seconds
    alive = tuple(processes)
    while (alive := tuple(p for p in alive if is_alive(p))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def end(processes: Iterable[ProcessRef], seconds: float) -> tuple[ProcessRef, ...]:
    """Send SIGTERM, and after ``seconds`` SIGKILL to the rest; returns the processes that survive even that.

    Raises NotAllowedError."""
    alive = tuple(processes)
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        for process in alive:
            with contextlib.suppress(GoneError):
                send(process, number)
        alive = wait_until_gone(alive, limit)
    return alive


def kill(processes: Iterable[ProcessRef]) -> tuple[ProcessRef, ...]:
    """Send SIGKILL; returns the processes that survive it, in uninterruptible sleep. Raises NotAllowedError."""
    targets = tuple(processes)
    for process in targets:
        with contextlib.suppress(GoneError):
            send(process, signal.SIGKILL)
    return wait_until_gone(targets, 5.0)
