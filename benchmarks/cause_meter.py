"""Processor time by cause, within one process: functions are wrapped, and each counts what the wrapped ones that it
calls do not."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CauseMeter:
    """Seconds of processor time by cause. For any number of threads."""

    def __init__(self, file: Path, uses_whole_process: Callable[[], bool] = lambda: False) -> None:
        """``file``: where ``write`` writes. ``uses_whole_process``: whether what this thread calls is computed by
        other threads too, and nothing else is meanwhile."""
        self._file = file
        self._uses_whole_process = uses_whole_process
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._local = threading.local()

    def wrap(self, owner: Any, name: str, cause: str, *, writes: bool = False) -> None:
        """Count the calls of ``owner.name`` to ``cause``; ``writes``: write the file after each."""
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            inner = self._local.__dict__.setdefault("inner", [])
            clock = time.process_time if self._uses_whole_process() else time.thread_time
            inner.append(0.0)
            began = clock()
            try:
                return function(*arguments, **options)
            finally:
                seconds = clock() - began
                with self._lock:
                    self._seconds[cause] += seconds - inner.pop()
                if inner:
                    inner[-1] += seconds
                if writes:
                    self.write()

        setattr(owner, name, timed)

    def write(self) -> None:
        """Write the counts, this thread's and the process's processor time, and the moment."""
        with self._lock:
            counts = dict(self._seconds)
        counts |= {"thread": time.thread_time(), "process": time.process_time(), "at": time.monotonic()}
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(counts))
        temporary.replace(self._file)
