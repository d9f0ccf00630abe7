"""What the watchdog observed in one cycle: plain data, nothing assessed.

Durations are seconds. Three clocks, because each lies in its own way: ``wall`` (Unix seconds) jumps when it is set,
``monotonic`` stands still while the machine sleeps, ``boottime`` (clock_gettime(2), CLOCK_BOOTTIME) does neither.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.gunicorn import ProgressRecord
from ops.facts.probes import Exchange
from ops.text.language import Text


class RunState(StrEnum):
    """What a process does, in ps's words (proc(5), /proc/pid/stat)."""

    RUNNING = "running"
    SLEEPING = "sleeping"
    DISK_SLEEP = "disk-sleep"
    STOPPED = "stopped"
    TRACED = "tracing-stop"
    ZOMBIE = "zombie"
    DEAD = "dead"
    IDLE = "idle"
    PARKED = "parked"


class Clocks(Facts, frozen=True):
    """One moment on three clocks."""

    wall: float
    monotonic: float
    boottime: float

    def calendar(self, since_boot: float) -> float:
        """Unix seconds of another moment of this boot, with the calendar's clock set as it is in this one."""
        return self.wall - (self.boottime - since_boot)


class ProcessState(Facts, frozen=True):
    """One process of the service.

    ``cpu``: seconds used. ``started``: on the clock ``boottime``. ``resident``: bytes in
    memory. ``start_ticks`` tells it from a later process with the same pid."""

    pid: int
    start_ticks: int
    state: RunState
    cpu: float
    started: float
    resident: int = 0


class Worker(ProcessState, frozen=True):
    """One worker, with its progress record if it keeps one.

    ``booting_by_control``: gunicorn's control socket says that it has never sent a heartbeat. ``threads``: nanoseconds
    that each thread has run, by thread id, read only if there is no record. ``descriptors``: how many are open, and the
    limit, and ``sockets``: the open sockets' inodes; both read only if /health fails."""

    record: ProgressRecord | None = None
    booting_by_control: bool = False
    threads: dict[str, int] = msgspec.field(default_factory=dict)
    descriptors: tuple[int, int] | None = None
    sockets: tuple[int, ...] | None = None


class Holder(Facts, frozen=True):
    """A process that listens at the service's address. ``ours``: it belongs to this service's gunicorn, or is left over
    from it. ``server``: which other server of Python applications it is (uvicorn, ...), if nothing says that the
    service is a gunicorn's and the process runs as a user whose word counts; else empty."""

    pid: int
    start_ticks: int
    command: str
    ours: bool
    server: str = ""


class Room(Facts, frozen=True):
    """Bytes of memory available to the service, and the total: the host's, swap included, or its control group's
    (cgroups(7)), whichever is tighter."""

    available: int
    total: int


class Observation(Facts, frozen=True):
    """Everything observed in one cycle.

    ``control_answers``: None if no control socket is configured. ``holders``: who listens at the service's address,
    read only if no master was found. ``own_trouble``: why the watchdog itself could not observe properly."""

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
    own_trouble: Text | None = None
    room: Room | None = None
