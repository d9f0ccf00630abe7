"""The GTE engine as the web worker uses it: start it, send it batches, detect that it died or is stuck."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.engines.forkserver import server
from service.engines.forkserver.client import (
    LOAD_TIMEOUT,
    Forkserver,
    ForkserverLaunch,
    LossReason,
    LostError,
)
from service.engines.gte import protocol
from service.engines.gte.tokens import Tokens
from service.engines.interface import EngineKind
from service.engines.liveness import ASLEEP, Liveness
from service.engines.vectors import Vectors
from service.engines.worker.loop import BatchFailedError

_LIVENESS_CHECK = 0.25  # seconds between two checks of an engine that computes
_ASLEEP = ASLEEP
# A batch may take this many times as long as expected, and this many seconds more, before the engine counts as stuck.
_PATIENCE = 10.0
_GRACE = 10.0  # seconds
_SEND_TIMEOUT = 5.0  # seconds for the few kilobytes of a batch


@dataclass(frozen=True)
class GteLaunch:
    """How the forkserver and its engines are to be started."""

    directory: Path
    precision: str  # "auto" or a precision
    threads: int
    program: tuple[str, ...] = ("-m", "service.engines.gte.process")  # Python's arguments

    def forkserver(self) -> ForkserverLaunch:
        """The forkserver, which loads the model."""
        arguments = (str(self.directory), self.precision, str(self.threads))
        return ForkserverLaunch("gte engine's", EngineKind.ENCODER, self.program, arguments, _environment())


@dataclass(frozen=True)
class EngineFacts:
    """What a loaded engine reports about itself."""

    precision: str
    products: str  # what the matrix products are computed in
    device: str
    dimension: int
    tokens_per_second: float  # of the warm-up
    start_seconds: float  # from the fork to the end of the warm-up
    measured: dict[str, float | None] | None  # GFLOP/s by type
    compiled: bool  # whether row_passes is


class GteEngine:
    """One fork of the forkserver. For one thread."""

    def __init__(self, forkserver: Forkserver) -> None:
        """Fork it and wait until it is ready.

        Raises:
            LostError: the forkserver or the engine ended or was stuck.
        """
        started = time.monotonic()
        self._fork = forkserver.fork()
        self._receiver = protocol.Receiver(self._fork.channel)
        self._number = 0
        _, payload = self._answer(0, time.monotonic() + LOAD_TIMEOUT, is_loading=True)
        ready = json.loads(payload)
        self.facts = EngineFacts(
            precision=ready["precision"],
            products=ready["products"],
            device=ready["device"],
            dimension=ready["dimension"],
            tokens_per_second=ready["tokens_per_second"],
            start_seconds=time.monotonic() - started,
            measured=ready["measured"],
            compiled=ready["compiled"],
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._fork.pid

    def encode(self, sequences: Sequence[Tokens], expected: float) -> Vectors:
        """The vectors of a batch, which should take ``expected`` seconds.

        Raises:
            LostError: the process died, or was stuck and has been killed. BatchFailedError: the engine failed on this
            batch and goes on with the next.
        """
        self._number += 1
        self._fork.channel.settimeout(_SEND_TIMEOUT)
        try:
            protocol.send(
                self._fork.channel, protocol.Kind.BATCH, self._number, protocol.pack_batch(sequences)
            )
        except protocol.ClosedError:
            raise self._lost("ended", LossReason.ENDED) from None
        except TimeoutError:
            raise self._lost("accepts no batch") from None
        deadline = time.monotonic() + _GRACE + _PATIENCE * expected
        kind, payload = self._answer(self._number, deadline, is_loading=False)
        if kind is protocol.Kind.FAILED:
            raise BatchFailedError(payload.decode("utf-8", "replace"))
        try:
            return protocol.unpack_vectors(payload, len(sequences))
        except ValueError:
            raise self._lost("sent an answer of the wrong size") from None

    def idle_loss(self) -> LostError | None:
        """See ``EngineProcess.idle_loss``."""
        return self._fork.idle_loss()

    def end(self) -> None:
        """Kill the process, if it still runs."""
        self._fork.end()

    def _answer(self, number: int, deadline: float, *, is_loading: bool) -> tuple[protocol.Kind, bytes]:
        self._fork.channel.settimeout(_LIVENESS_CHECK)
        liveness = Liveness(self.pid, _ASLEEP)
        while True:
            try:
                kind, answer_number, payload = self._receiver.receive()
            except protocol.ClosedError:
                raise self._lost("ended", LossReason.ENDED) from None
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise self._lost("did not answer in time") from None
                stuck = liveness.stuck(may_sleep=is_loading or self._waits_for_a_device())
                if stuck is not None:
                    raise self._lost(stuck) from None
            else:
                if answer_number == number:
                    return kind, payload

    def _waits_for_a_device(self) -> bool:
        return self.facts.device != "cpu"

    def _lost(self, detail: str, reason: LossReason = LossReason.STUCK) -> LostError:
        return self._fork.lost(LostError(reason, detail))


def _environment() -> dict[str, str]:
    return {
        **server.ENVIRONMENT,
        # Look for a GPU without starting its driver, which does not survive a fork.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # oneDNN compiles code for each number of rows, and a batch may have any number.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096"),
        # A batch allocates and frees buffers (512 rows of 4096: 8 MB) a thousand times: keep them in the process
        # instead of returning them to the kernel each time. In bytes; mallopt(3).
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    }
