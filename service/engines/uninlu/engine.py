"""The extractor's engine as the web worker uses it: a fork that answers lines of JSON."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engines.forkserver.client import (
    LOAD_TIMEOUT,
    Forkserver,
    ForkserverLaunch,
    JsonChannel,
    LostError,
)
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason
from service.engines.uninlu import process


@dataclass(frozen=True)
class UninluLaunch:
    """How the forkserver and its engines are to be started."""

    directory: Path
    threads: int  # of an engine
    trusts_code: bool  # the model's own code loads it, after the fork
    program: tuple[str, ...] = ("-m", "service.engines.uninlu.process")  # Python's arguments

    def forkserver(self) -> ForkserverLaunch:
        """The forkserver, which loads the model unless the model's own code has to."""
        arguments = (str(self.directory), str(self.threads), str(int(self.trusts_code)))
        return ForkserverLaunch(
            "extractor's", EngineKind.EXTRACTOR, self.program, arguments, process.ENVIRONMENT
        )

    def engine(self, forkserver: Forkserver) -> "UninluEngine":
        """A new engine. See ``UninluEngine``."""
        return UninluEngine(forkserver, may_sleep=self.trusts_code)


class UninluEngine:
    """One fork of the forkserver. For one thread."""

    def __init__(self, forkserver: Forkserver, *, may_sleep: bool) -> None:
        """Fork it and wait until it is ready. ``may_sleep``: it loads the model itself, from a disk.

        Raises:
            LostError: the forkserver, or the new engine, ended or was stuck, and has been killed.
            EngineUnavailableError: the engine refuses the model.
        """
        self._fork = forkserver.fork()
        self._messages = JsonChannel(self._fork.channel, self.pid)
        try:
            ready = self._messages.receive(time.monotonic() + LOAD_TIMEOUT, may_sleep=may_sleep)
        except LostError as loss:
            raise self._fork.lost(loss) from None
        if not ready["ready"]:
            self.end()
            raise EngineUnavailableError(
                EngineKind.EXTRACTOR, UnavailableReason(ready["reason"]), ready["detail"]
            )
        self.has_scores = bool(ready["has_scores"])

    @property
    def pid(self) -> int:
        """The process."""
        return self._fork.pid

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer to ``request``, which should come within ``seconds``.

        Raises:
            LostError: it ended, or was stuck; it has been killed.
        """
        try:
            self._messages.send(request)
            return self._messages.receive(time.monotonic() + seconds, may_sleep=False)
        except LostError as loss:
            raise self._fork.lost(loss) from None

    def idle_loss(self) -> LostError | None:
        """See ``EngineProcess.idle_loss``."""
        return self._fork.idle_loss()

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._fork.end()
