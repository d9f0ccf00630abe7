"""What the watchdog saw in one look: plain data, no judgement.

Durations are seconds. Three clocks, because each lies in its own way: ``wall`` (Unix seconds) jumps when it is set,
``monotonic`` stands still while the machine sleeps, ``boottime`` (clock_gettime(2), CLOCK_BOOTTIME) does neither.
"""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.gunicorn import ProgressRecord
from ops.facts.probes import Exchange

STOPPED = ("stopped",)
TRACED = ("tracing-stop",)


class Clocks(Facts, frozen=True):
    """One moment on three clocks."""

    wall: float
    monotonic: float
    boottime: float


class ProcessState(Facts, frozen=True):
    """One process of the service. ``state`` is ps's word, ``cpu`` seconds used so far, ``started`` its start on the
    clock ``boottime``, ``resident`` its bytes in memory; ``start_ticks`` tells it from a later process of the same
    pid."""

    pid: int
    start_ticks: int
    state: str
    cpu: float
    started: float
    resident: int = 0


class Worker(ProcessState, frozen=True):
    """One worker with its own account; ``booting_by_control``: gunicorn's control socket says that it never beat.

    ``threads``: nanoseconds each thread has run, by its id, looked up only where there is no record.
    ``descriptors``: how many are open, and how many may be; looked up only where /health is not answered well."""

    record: ProgressRecord | None = None
    booting_by_control: bool = False
    threads: dict[str, int] = msgspec.field(default_factory=dict)
    descriptors: tuple[int, int] | None = None


class Holder(Facts, frozen=True):
    """Who listens at the service's address. ``ours``: it is this service's gunicorn or what is left of it."""

    pid: int
    start_ticks: int
    command: str
    ours: bool


class Room(Facts, frozen=True):
    """Bytes that are still to be had where the service runs, and of how many: the host's, swap included, or those of
    its control group (cgroups(7)), whichever is tighter."""

    available: int
    total: int


class Observation(Facts, frozen=True):
    """One round's observation.

    ``control_answers``: None where no control socket is configured. ``holders``: who listens at the service's address,
    looked up only where no master was found. ``own_trouble``: why the watchdog could not look properly."""

    clocks: Clocks
    backend: str
    master: ProcessState | None
    workers: tuple[Worker, ...]
    has_records: bool
    health: Exchange | NotSeen
    ready: Exchange | NotSeen
    control_answers: bool | None = None
    holders: tuple[Holder, ...] | NotSeen = ()
    access_log_size: int | None = None
    own_trouble: str | None = None
    room: Room | None = None
