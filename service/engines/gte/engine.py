"""The engine process as its worker sees it: started, asked, found dead or stuck, and ended."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.engines.forkserver import client as template
from service.engines.forkserver import server
from service.engines.forkserver.client import LOAD_TIMEOUT, LostError, Template
from service.engines.gte import protocol
from service.engines.gte.tokens import Tokens
from service.engines.liveness import ASLEEP, Liveness

_LOOK = 0.25  # seconds between two looks at a process that computes
_ASLEEP = ASLEEP
# A batch may take this many times as long as it should, and this many seconds more, before it counts as stuck.
_PATIENCE = 10.0
_GRACE = 10.0  # seconds
_SENDING = 5.0  # seconds for the few kilobytes of a batch


@dataclass(frozen=True)
class GteLaunch:
    """How the engine is to be started."""

    directory: Path
    precision: str  # "auto" or a precision
    threads: int
    program: tuple[str, ...] = ("-m", "service.engines.gte.process")  # Python's arguments

    def template(self) -> Template:
        """A template that has loaded the model. See ``Template``."""
        arguments = (str(self.directory), self.precision, str(self.threads))
        return Template(
            template.ForkserverLaunch("gte engine's", "encoder", self.program, arguments, _environment())
        )


@dataclass(frozen=True)
class Facts:
    """What a loaded engine says of itself."""

    precision: str
    products: str  # what the matrix products are computed in
    device: str
    dimension: int
    tokens_per_second: float  # of the warm-up
    start_seconds: float  # from the fork to the end of the warm-up
    measured: dict[str, float | None] | None  # GFLOP/s by type


class BatchFailedError(Exception):
    """The process failed on this batch and goes on with the next."""


class GteEngine:
    """One fork of the template. For one thread."""

    def __init__(self, template: Template) -> None:
        """Fork it and wait until it is ready.

        Raises:
            LostError: the template or the engine ended or was stuck.
        """
        started = time.monotonic()
        self._fork = template.fork()
        self._receiver = protocol.Receiver(self._fork.channel)
        self._number = 0
        _, payload = self._answer(0, time.monotonic() + LOAD_TIMEOUT, is_loading=True)
        said = json.loads(payload)
        self.facts = Facts(
            precision=said["precision"],
            products=said["products"],
            device=said["device"],
            dimension=said["dimension"],
            tokens_per_second=said["tokens_per_second"],
            start_seconds=time.monotonic() - started,
            measured=said["measured"],
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._fork.pid

    def encode(self, sequences: Sequence[Tokens], expected: float) -> protocol.Vectors:
        """The vectors of a batch that should take ``expected`` seconds.

        Raises:
            LostError: the process died, or was stuck and has been killed. BatchFailedError: see there.
        """
        self._number += 1
        self._fork.channel.settimeout(_SENDING)
        try:
            protocol.send(
                self._fork.channel, protocol.Kind.BATCH, self._number, protocol.pack_batch(sequences)
            )
        except protocol.ClosedError:
            raise self._lost("ended") from None
        except TimeoutError:
            raise self._lost("takes no batch") from None
        deadline = time.monotonic() + _GRACE + _PATIENCE * expected
        kind, payload = self._answer(self._number, deadline, is_loading=False)
        if kind is protocol.Kind.FAILED:
            raise BatchFailedError(payload.decode("utf-8", "replace"))
        try:
            return protocol.unpack_vectors(payload, len(sequences))
        except ValueError:
            raise self._lost("answers what was not asked") from None

    def end(self) -> None:
        """Kill the process, if it still runs."""
        self._fork.end()

    def _answer(self, number: int, deadline: float, *, is_loading: bool) -> tuple[protocol.Kind, bytes]:
        self._fork.channel.settimeout(_LOOK)
        liveness = Liveness(self.pid, _ASLEEP)
        while True:
            try:
                kind, answered, payload = self._receiver.receive()
            except protocol.ClosedError:
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

    def _lost(self, what: str) -> LostError:
        return self._fork.lost(LostError("ended" if what == "ended" else "stuck", what))


def _environment() -> dict[str, str]:
    return {
        **server.ENVIRONMENT,
        # Whether there is a GPU is asked without starting its driver, which no fork would survive.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # A batch has any number of rows, and a product of each number its own compiled code.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096"),
        # A batch's values (512 rows of 4096: 8 MB) come and go a thousand times: not to the kernel and back each time.
        # Whole bytes; mallopt(3).
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    }
