"""The result of an assessment: of one worker, and of the service as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ops.interpret.process_ref import ProcessRef
from ops.supervision.observation import Holder
from ops.supervision.state import Fault, ServiceState
from ops.text.language import Text

NOTHING = Text(en="", zh="")
# The states in which requests are served.
ALIVE = (ServiceState.HEALTHY, ServiceState.SATURATED)
# The states that count as a failure until they are over.
AILING = (ServiceState.FAILING, ServiceState.PORT_CONFLICT, ServiceState.SUSPECT)


class WorkerCondition(StrEnum):
    """What one worker is doing. BLOCKED: its event loop does not run. UNKNOWN: it keeps no progress record, and nothing
    accuses it."""

    IDLE = "idle"
    BUSY = "busy"
    BOOTING = "booting"
    BOOT_HUNG = "boot_hung"
    STOPPED = "stopped"
    DEBUGGED = "traced"
    SUSPECT = "suspect"
    HUNG = "hung"
    BLOCKED = "blocked"
    LIVELOCK = "livelock"
    PARTIALLY_STUCK = "partly"
    LEAKING = "eating"
    UNKNOWN = "unknown"


# The conditions that the watchdog may act on, the most certain first, and the fault each of them is.
STUCK = {
    WorkerCondition.STOPPED: Fault.WORKER_STOPPED,
    WorkerCondition.HUNG: Fault.WORKER_HUNG,
    WorkerCondition.BLOCKED: Fault.WORKER_BLOCKED,
    WorkerCondition.LIVELOCK: Fault.WORKER_LIVELOCK,
    WorkerCondition.BOOT_HUNG: Fault.WORKER_BOOT_HUNG,
    WorkerCondition.PARTIALLY_STUCK: Fault.WORKER_PARTIALLY_STUCK,
    WorkerCondition.LEAKING: Fault.WORKER_LEAKING,
}
_CERTAINTY = tuple(STUCK)


@dataclass(frozen=True)
class WorkerAssessment:
    """One worker: its condition, for how long (seconds), and whether every request in flight is past the deadline.

    ``wants_dump``: only another stack dump can tell whether it moves."""

    process: ProcessRef
    condition: WorkerCondition
    seconds: float = 0.0
    all_wedged: bool = True
    path: str = ""
    wants_dump: bool = False

    @property
    def is_stuck(self) -> bool:
        """Whether it will not recover by itself."""
        return self.condition in STUCK


@dataclass(frozen=True)
class Assessment:
    """The service as a whole. ``fault`` names what is wrong, ``detail`` says it of this case.

    ``confirmed``: certain enough to act on, by repetition or by evidence. ``saturated``: alive, with more to do than it
    can handle."""

    state: ServiceState
    fault: Fault = Fault.NONE
    detail: Text = NOTHING
    workers: tuple[WorkerAssessment, ...] = ()
    confirmed: bool = False
    saturated: bool = False
    holders: tuple[Holder, ...] = ()

    @property
    def wants_dumps(self) -> tuple[ProcessRef, ...]:
        """The workers whose stacks are needed before more can be said."""
        return tuple(w.process for w in self.workers if w.wants_dump)

    @property
    def stuck(self) -> tuple[WorkerAssessment, ...]:
        """The stuck workers, the most certain case first."""
        return most_certain_first(self.workers)


def most_certain_first(workers: tuple[WorkerAssessment, ...]) -> tuple[WorkerAssessment, ...]:
    """Those of ``workers`` that are stuck, the most certain case first."""
    return tuple(
        sorted((w for w in workers if w.is_stuck), key=lambda worker: _CERTAINTY.index(worker.condition))
    )
