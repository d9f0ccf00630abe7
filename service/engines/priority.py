"""Engines give way to the threads that answer requests."""

import contextlib
import os
import threading

# More than the worker's own. Beside a thread at 0 one at 5 gets a third of its share (sched(7)), and is put aside at
# once when the other wakes up.
NICENESS = 5


def give_way() -> None:
    """Let this thread compute only what the worker's main loop and request threads leave: each of them needs little,
    but at once, and waits for the scheduler behind whatever computes on all cores.

    On Linux the priority is a thread's own, although POSIX speaks of processes (setpriority(2)); a new thread inherits
    it.
    """
    with contextlib.suppress(OSError):  # a sandbox may refuse it
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(19, own + NICENESS))
