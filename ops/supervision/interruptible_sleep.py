"""The resident watchdog's sleep between two cycles, which a signal or the end of the master cuts short."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from ops.control.signals import is_alive
from ops.interpret.process_ref import ProcessRef


class InterruptibleSleep:
    """Sleeps in the main thread. Once it is constructed, every signal with a Python handler wakes it."""

    def __init__(self) -> None:
        self._woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # This way a signal that comes just before the sleep wakes it too; a flag set by the handler would not.
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._ended: ProcessRef | None = None

    def sleep(self, seconds: float, master: ProcessRef | None) -> None:
        """Sleep for ``seconds``, or until a signal comes or ``master`` ends (the end of a process wakes only once)."""
        with contextlib.ExitStack() as stack:
            waiting = select.poll()
            waiting.register(self._woken, select.POLLIN)
            descriptor = -1
            if master is not None and master != self._ended:
                try:
                    descriptor = os.pidfd_open(master.pid)
                except (AttributeError, OSError):  # it has just ended, or the kernel is older than 5.3
                    descriptor = -1
                else:
                    stack.callback(os.close, descriptor)
                    waiting.register(descriptor, select.POLLIN)
                if not is_alive(master):
                    self._ended = master
                    return
            ready = waiting.poll(seconds * 1000)
        if any(number == descriptor for number, _ in ready):
            self._ended = master
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass
