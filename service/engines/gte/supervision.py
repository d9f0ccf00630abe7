"""The engine process as its worker sees it: started, asked, found dead or stuck, and ended."""

import json
import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.engines import engine_process
from service.engines.gte import wire
from service.engines.gte.tokens import Tokens
from service.engines.interface import EngineUnavailableError
from service.engines.liveness import ASLEEP, Liveness

_log = logging.getLogger("service")

_LOOK = 0.25  # seconds between two looks at a process that computes
_ASLEEP = ASLEEP
# A batch may take this many times as long as it should, and this many seconds more, before it counts as stuck.
_PATIENCE = 10.0
_GRACE = 10.0  # seconds
_LOAD_TIMEOUT = 300.0  # seconds; a cold disk is slow
_SENDING = 5.0  # seconds for the few kilobytes of a batch


@dataclass(frozen=True)
class Launch:
    """How the engine is to be started."""

    directory: Path
    precision: str  # "auto" or a precision
    threads: int
    program: tuple[str, ...] = ("-m", "service.engines.gte.process")  # Python's arguments


@dataclass(frozen=True)
class Facts:
    """What a loaded engine says of itself."""

    precision: str
    products: str  # what the matrix products are computed in
    device: str
    dimension: int
    tokens_per_second: float  # of the warm-up
    load_seconds: float  # from the start of the process
    measured: dict[str, float | None] | None  # GFLOP/s by type


class EngineLostError(Exception):
    """The process is dead or was stuck and has been killed; the message says which. What it held is lost.

    ``reason``: ``ended`` or ``stuck``.
    """

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class BatchFailedError(Exception):
    """The process failed on this batch and goes on with the next."""


class Engine:
    """One engine process, loaded. For one thread, which must not end before it: the kernel kills the process when
    the thread that started it ends (prctl(2), PR_SET_PDEATHSIG)."""

    def __init__(self, launch: Launch) -> None:
        """Start a process and wait until its model is loaded.

        Raises:
            EngineUnavailableError: it refuses the model. EngineLostError: it died or took too long.
        """
        started = time.monotonic()
        self._process, self._channel = engine_process.start(
            launch.program,
            [str(launch.directory), launch.precision, str(launch.threads), str(os.getpid())],
            _environment(launch.threads),
        )
        self._receiver = wire.Receiver(self._channel)
        self._number = 0
        kind, payload = self._answer(0, time.monotonic() + _LOAD_TIMEOUT, is_loading=True)
        said = json.loads(payload)
        if kind is wire.Kind.REFUSED:
            self.end()
            raise EngineUnavailableError("encoder", said["reason"], said["detail"])
        self.facts = Facts(
            precision=said["precision"],
            products=said["products"],
            device=said["device"],
            dimension=said["dimension"],
            tokens_per_second=said["tokens_per_second"],
            load_seconds=time.monotonic() - started,
            measured=said["measured"],
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def encode(self, sequences: Sequence[Tokens], expected: float) -> wire.Vectors:
        """The vectors of a batch that should take ``expected`` seconds.

        Raises:
            EngineLostError: the process died, or was stuck and has been killed. BatchFailedError: see there.
        """
        self._number += 1
        self._channel.settimeout(_SENDING)
        try:
            wire.send(self._channel, wire.Kind.BATCH, self._number, wire.pack_batch(sequences))
        except (wire.ClosedError, TimeoutError):
            raise self._lost("takes no batch") from None
        deadline = time.monotonic() + _GRACE + _PATIENCE * expected
        kind, payload = self._answer(self._number, deadline, is_loading=False)
        if kind is wire.Kind.FAILED:
            raise BatchFailedError(payload.decode("utf-8", "replace"))
        try:
            return wire.unpack_vectors(payload, len(sequences))
        except ValueError:
            raise self._lost("answers what was not asked") from None

    def end(self) -> None:
        """Kill the process, if it still runs."""
        engine_process.end(self._process, self._channel)

    def _answer(self, number: int, deadline: float, *, is_loading: bool) -> tuple[wire.Kind, bytes]:
        self._channel.settimeout(_LOOK)
        liveness = Liveness(self.pid, _ASLEEP)
        while True:
            try:
                kind, answered, payload = self._receiver.receive()
            except wire.ClosedError:
                raise self._lost("ended") from None
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise self._lost("did not answer in time") from None
                stuck = liveness.stuck(may_sleep=is_loading or self._waits_for_a_device())
                if stuck is not None:
                    raise self._lost(stuck) from None
            else:
                if answered == number:
                    return kind, payload

    def _waits_for_a_device(self) -> bool:
        return self.facts.device != "cpu"

    def _lost(self, what: str) -> EngineLostError:
        status = engine_process.end_of_lost(self._process, self._channel, within=0.2)
        reason = "stuck"
        if status is not None:
            reason = "ended"
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            what = f"ended with {how}"
        return EngineLostError(f"the engine process {self.pid} {what}", reason)


def _environment(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin at a barrier while a neighbour has the core of the last one waste what it could use.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        # A batch has any number of rows, and a product of each number its own compiled code.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096"),
        # A batch's values (512 rows of 4096: 8 MB) come and go a thousand times: not to the kernel and back each time.
        # Whole bytes; mallopt(3).
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    }
