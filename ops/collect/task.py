"""Run collectors in parallel, each in its own thread; none is awaited past the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ops.facts.base import NotSeen
from ops.text.sanitize import safe_line

T = TypeVar("T")


class Task:
    """A running function. Its thread is a daemon: if it hangs in a system call, the process can still exit."""

    def __init__(self, name: str, function: Callable[[], Any]) -> None:
        self.name = name
        self._function = function
        self._outcome: Any = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"collect-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except Exception as error:  # noqa: BLE001  one collector's defect must not cost the others
            self._outcome = NotSeen(
                reason=safe_line(f"the collector '{self.name}' failed: {type(error).__name__}: {error}")
            )
        finally:
            self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether the function has returned."""
        return self._done.is_set()

    def wait(self, deadline: float) -> Any:
        """Return the function's result; NotSeen if it failed or was not done at ``deadline`` (time.monotonic)."""
        if not self._done.wait(max(0.0, deadline - time.monotonic())):
            return NotSeen(reason=f"'{self.name}' did not finish within the budget")
        return self._outcome


def start(name: str, function: Callable[..., Any], *args: Any) -> Task:
    """Start ``function`` with ``args`` in a thread of its own."""
    return Task(name, lambda: function(*args))
