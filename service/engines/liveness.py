"""Detect a process that does not work on its request, from its state and processor time in /proc."""

import time
from pathlib import Path

# A process that has work counts as stuck after it has slept for so many seconds and used no processor time. A process
# that only waits for the processor is runnable, not asleep.
ASLEEP = 3.0


class Liveness:
    """One process, checked repeatedly while the caller waits for its answer."""

    def __init__(self, pid: int, asleep: float = ASLEEP) -> None:
        """``asleep``: seconds of sleep after which it counts as stuck."""
        self._pid = pid
        self._asleep = asleep
        self._used, self._since = processor_ticks(pid), time.monotonic()

    def stuck(self, *, may_sleep: bool) -> str | None:
        """Why it is stuck, as a predicate of "the process": ``was stopped`` or ``slept over its work``; None: it is
        not.

        ``may_sleep``: it may wait for a device or a disk.
        """
        state, ticks, now = state_of(self._pid), processor_ticks(self._pid), time.monotonic()
        if state in ("T", "t"):
            return "was stopped"
        if ticks != self._used or state != "S" or may_sleep:
            self._used, self._since = ticks, now
        elif now - self._since > self._asleep:
            return "slept over its work"
        return None


def state_of(pid: int) -> str:
    """The process's state letter (proc(5)), X if it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else "X"


def processor_ticks(pid: int) -> int:
    """Processor time that all its threads have used, in clock ticks; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
