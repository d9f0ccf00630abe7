"""Children that end with this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_us(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A function for a child to call between fork and exec (`subprocess.Popen`, ``preexec_fn``): it gets this signal
    when this process ends, however that is (prctl(2)). What follows would otherwise meet a child that still works."""
    libc = ctypes.CDLL(None)  # loaded before the fork: between fork and exec no import is safe

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)

    return ask


def stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a child that leads a session of its own: SIGTERM, and after ``seconds`` SIGKILL to the whole session."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
