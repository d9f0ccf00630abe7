"""Where engines come from: forks of a forkserver, which is itself replaced when it is lost."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from service.engines.forkserver.client import Forkserver, ForkserverLaunch, LostError
from service.engines.interface import EngineUnavailableError

_log = logging.getLogger("service")

# Seconds before the second, third, ... attempt in a row to start a process; the first follows at once.
_PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class EngineProcess(Protocol):
    """A fork that computes. For one thread."""

    @property
    def pid(self) -> int:
        """The process."""

    def idle_loss(self) -> LostError | None:
        """How it was lost while it had nothing to compute, or None; a lost one has been killed."""

    def end(self) -> None:
        """Kill it, if it still runs."""


EngineT = TypeVar("EngineT", bound=EngineProcess)


class EngineSource(Generic[EngineT]):
    """One forkserver, and engines forked from it. For one thread."""

    def __init__(
        self, launch: ForkserverLaunch, engine: Callable[[Forkserver], EngineT], *, loads_ahead: bool
    ) -> None:
        """Load the model. ``engine`` forks and waits until the fork is ready.

        ``loads_ahead``: load the model into another forkserver as soon as the current one is lost, while its last
        engine serves on. That is two copies of the weights for a while; without it, the next engine waits for the load.

        Raises:
            EngineUnavailableError: the model cannot be loaded. LostError: the process was lost while it loaded it.
        """
        self._launch = launch
        self._new_engine = engine
        self._loads_ahead = loads_ahead
        self._forkserver: Forkserver | None = Forkserver(launch)
        self._next: Future[Forkserver] | None = None

    @property
    def pid(self) -> int | None:
        """The forkserver's process, or None while there is none."""
        forkserver = self._forkserver
        return forkserver.pid if forkserver else None

    def renew(self) -> bool:
        """Detect a lost forkserver. Returns whether another one has just taken its place."""
        if self._forkserver is None:
            return self._next is not None and self._next.done() and self._has_taken_next()
        if self._forkserver.is_lost():
            _log.error("the %s forkserver, process %d, was lost", self._launch.name, self._forkserver.pid)
            self._forkserver.end()
            self._forkserver = None
            if self._loads_ahead:
                self._next = Future()
                threading.Thread(
                    target=self._load_next, args=(self._next,), name="forkserver", daemon=True
                ).start()
        return False

    def engine(self) -> EngineT:
        """A new engine; waits for a forkserver that is being loaded.

        Raises:
            LostError: the forkserver or the engine ended or was stuck. EngineUnavailableError: the model cannot be
            loaded any more. OSError: no process could be started.
        """
        self.renew()
        if self._forkserver is None:
            self._forkserver = self._next.result() if self._next else Forkserver(self._launch)
            self._next = None
        try:
            return self._new_engine(self._forkserver)
        except LostError:
            # Whichever of the two it was: the next attempt gets another forkserver.
            self._forkserver.end()
            raise

    def first_engine(self) -> EngineT:
        """As ``engine``, but without a second attempt: if it fails, the forkserver ends too."""
        try:
            return self.engine()
        except BaseException:
            self.end()
            raise

    def engine_at_last(self, report: Callable[[EngineUnavailableError], None]) -> EngineT:
        """A new engine, however many attempts it takes. ``report`` gets each refusal of the model on the way."""
        for pause in _pauses():
            time.sleep(pause)
            try:
                return self.engine()
            except (LostError, EngineUnavailableError, OSError) as error:
                _log.error("the %s engine cannot be started again: %s", self._launch.name, _reason(error))
                if isinstance(error, EngineUnavailableError):
                    report(error)
        raise AssertionError("the pauses never end")

    def end(self) -> None:
        """End the forkserver."""
        if self._forkserver is not None:
            self._forkserver.end()

    def _has_taken_next(self) -> bool:
        assert self._next is not None  # noqa: S101  for mypy
        self._forkserver, self._next = self._next.result(), None
        return True

    def _load_next(self, into: "Future[Forkserver]") -> None:
        for pause in _pauses():
            time.sleep(pause)
            try:
                into.set_result(Forkserver(self._launch))
            except (LostError, EngineUnavailableError, OSError) as error:
                _log.error("the %s forkserver cannot be loaded: %s", self._launch.name, _reason(error))
            else:
                return


def _pauses() -> Iterator[float]:
    return itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1]))


def _reason(error: Exception) -> str:
    return error.detail if isinstance(error, EngineUnavailableError) else str(error)
