"""The watchdog's state: everything it carries from one cycle to the next, and across its own restart. Frozen values.

Times are seconds on the boot clock (`ops/supervision/observation.py`), which nobody can set; ``carried_over`` converts
them to the clock of the next boot. Each ``wall`` beside them is Unix time, for readers of the file.

The file's names are those of the first version. Where a field has another name here, ``name=`` gives the one on disk;
the values of the enumerations are on disk too. A new member makes a file that an older version sets aside as torn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import field

from ops.interpret.process_ref import ProcessRef
from ops.supervision.observation import Clocks
from ops.text.sanitize import safe_line

VERSION = 1
# Actions kept for the budget and for `status`; budgets are small.
MAX_ACTIONS = 50
MAX_DETAIL_CHARS = 2000


class ServiceState(StrEnum):
    """What the service as a whole is doing. UNDETERMINED: this cycle could not tell. NOT_OBSERVED: no cycle has run."""

    HEALTHY = "healthy"
    SATURATED = "saturated"
    BOOTING = "booting"
    SUSPECT = "suspect"
    FAILING = "failing"
    PORT_CONFLICT = "foreign"
    UNDETERMINED = "unjudged"
    NOT_OBSERVED = "unknown"


class Fault(StrEnum):
    """What is wrong with the service. `ops/supervision/sentences.py` has a sentence for each but NONE."""

    NONE = ""
    MASTER_GONE = "master_gone"
    MASTER_STOPPED = "master_stopped"
    MASTER_HUNG = "master_hung"
    NO_WORKERS = "no_workers"
    WORKER_STOPPED = "worker_stopped"
    WORKER_HUNG = "worker_hung"
    WORKER_BLOCKED = "worker_blocked"
    WORKER_LIVELOCK = "worker_livelock"
    WORKER_BOOT_HUNG = "worker_boot_hung"
    WORKER_PARTIALLY_STUCK = "worker_partly"
    WORKER_LEAKING = "worker_memory"
    WORKER_SUSPECT = "worker_suspect"
    OVERLOAD = "overload"
    NOT_ANSWERING = "not_answering"
    HEALTH_FAILS = "health_fails"
    NOT_READY = "not_ready"
    PORT_CONFLICT = "port_taken"
    HOLDER_UNSEEN = "holder_unseen"
    ENVIRONMENT_CHANGED = "environment_changed"
    SATURATED = "saturated"
    BOOTING = "booting"
    OWN_TROUBLE = "own_trouble"
    DEBUGGED = "traced"


class ActionKind(StrEnum):
    """What the watchdog can do to the service, the least disruptive first."""

    CONTINUE_MASTER = "continue_master"
    TERMINATE_WORKER = "terminate_worker"
    KILL_WORKER = "kill_worker"
    RELOAD = "reload"
    RESTART = "restart"


class ActionOutcome(StrEnum):
    """What became of an action.

    BEGUN: not known yet. NEXT: the action is over, and something else must be acted on: another worker is stuck, or
    somebody has stopped what it started. GONE: there was nothing left to act on. CLEARED: the service has been healthy
    for so long since that the action no longer counts."""

    BEGUN = "begun"
    RECOVERED = "recovered"
    FAILED = "failed"
    NEXT = "next"
    GONE = "gone"
    CLEARED = "cleared"


class LoopWork(StrEnum):
    """What an event loop was running when its stack was dumped. NONE: it waited for events, or there is no loop."""

    NONE = ""
    REQUEST = "request"
    CALLBACK = "callback"


class WorkerState(msgspec.Struct, frozen=True):
    """What earlier cycles learned about one worker.

    ``share``: CPU seconds per second between the last two observations that were far enough apart. ``same_stacks``:
    whether its last two stack dumps were equal, None until there are two.

    For a worker without a progress record: ``still`` maps each thread to its nanoseconds of CPU time and the moment
    since which that figure has not changed; ``examined_at`` is when its stacks were last dumped, ``at_work`` how many
    threads were in a request then (None if that cannot be told), ``was_at_work`` whether one was at the dump before it
    too, ``loop_work`` what its event loop was running, and ``stuck_threads`` are those in a request that have not run
    since. ``sockets``: the inodes of its open sockets, while /health fails.

    Memory: ``resident`` at the last observation, ``least`` since the worker began to serve, and whether it is
    ``growing``."""

    start_ticks: int
    cpu: float
    cpu_at: float
    share: float | None = None
    dump: str = ""
    dump_at: float = 0.0
    same_stacks: bool | None = None
    still: Mapping[str, tuple[int, float]] = {}
    examined_at: float = 0.0
    at_work: int | None = None
    stuck_threads: tuple[str, ...] = ()
    was_at_work: bool = False
    loop_work: LoopWork = LoopWork.NONE
    sockets: tuple[int, ...] = ()
    resident: int = 0
    least: int = 0
    growing: bool = False


class ActionRecord(msgspec.Struct, frozen=True):
    """One action of the watchdog. It is written to disk before it is carried out, so that a crash cannot hide it."""

    at: float
    wall: float
    kind: ActionKind = field(name="rung")
    fault: Fault
    pid: int | None = None
    outcome: ActionOutcome = ActionOutcome.BEGUN


class Pending(msgspec.Struct, frozen=True):
    """The last action, until its effect is confirmed or ``until`` has passed.

    ``kill_at``: when a worker that was asked to end is killed. ``retired``: stuck workers to kill as soon as the new
    workers of a reload serve."""

    kind: ActionKind = field(name="rung")
    at: float
    until: float
    worker: ProcessRef | None = None
    kill_at: float | None = None
    retired: tuple[ProcessRef, ...] = ()


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong at present. ``evidence``: the directory that holds the evidence; ``causes``: the doctor's codes;
    ``actions``: what was done about it."""

    fault: Fault
    since: float
    wall: float
    detail_en: str = ""
    detail_zh: str = ""
    announced: bool = False
    evidence: str = ""
    causes: tuple[str, ...] = ()
    actions: tuple[ActionKind, ...] = ()

    def __post_init__(self) -> None:
        # The details quote logs, answers and command lines, and go to disk.
        msgspec.structs.force_setattr(self, "detail_en", safe_line(self.detail_en, MAX_DETAIL_CHARS))
        msgspec.structs.force_setattr(self, "detail_zh", safe_line(self.detail_zh, MAX_DETAIL_CHARS))


class Subject(msgspec.Struct, frozen=True):
    """The service as last observed: enough to recognise it, and to start it once it is gone.

    ``uid``: who started its master, according to the kernel; None until observed. ``threads``: gunicorn's setting, 0 if
    not known. ``host``: the name that the service is asked by."""

    backend: str = ""
    master: ProcessRef | None = None
    command: tuple[str, ...] = ()
    cwd: str = ""
    error_log: str = ""
    access_log: str = ""
    workers: tuple[ProcessRef, ...] = ()
    threads: int = 0
    uid: int | None = None
    host: str = ""


class WatchdogState(msgspec.Struct, frozen=True):
    """Everything that is carried from one cycle to the next. Change it with ``msgspec.structs.replace``."""

    version: int = VERSION
    boot_id: str = ""
    clocks: Clocks | None = None
    cycles: int = field(default=0, name="rounds")
    service_state: ServiceState = field(default=ServiceState.NOT_OBSERVED, name="state")
    state_since: float = 0.0
    state_wall: float = 0.0
    failures: int = 0
    control_failures: int = 0
    saturated: bool = False
    saturation_announced: bool = field(default=False, name="saturation_told")
    trouble: Trouble | None = None
    pending: Pending | None = None
    subject: Subject = Subject()
    workers: Mapping[str, WorkerState] = {}
    # Timestamps in progress records before this (Unix seconds) are not used: the clock was set, or the machine slept.
    distrust_before: float = 0.0
    last_answer: float | None = None
    answer_marks: Mapping[str, int] = {}
    workers_seen_at: float | None = None
    # Since when a master that had been there is missing.
    master_gone_since: float | None = None
    # When the watchdog began a restart whose master has not been observed healthy yet.
    restarting_since: float | None = None
    # What the present master lacks compared with the one before it, if the watchdog started it (launches.py).
    environment_lost: tuple[str, ...] = ()
    other_user: bool = False
    actions: tuple[ActionRecord, ...] = ()
    counters: Mapping[str, int] = {}
    # The circuit opens when the budget is spent. One attempt is allowed again at ``rearm_at``; each one raises
    # ``level``, which doubles the next wait.
    circuit_open: bool = field(default=False, name="holding")
    circuit_open_wall: float = field(default=0.0, name="holding_wall")
    rearm_at: float | None = None
    level: int = 0
    healthy_since: float | None = None
    # A start does not fix the cause the doctor named: nothing is tried until the files it depends on change.
    unfixable: bool = field(default=False, name="futile")
    unfixable_fingerprint: str = field(default="", name="futile_fingerprint")
    last_recovery_seconds: float | None = None

    @property
    def suspended(self) -> bool:
        """Whether the watchdog takes no action for now, so that a person is needed (OPS007)."""
        return self.circuit_open or self.unfixable

    def carried_over(self, boot_id: str, clocks: Clocks) -> WatchdogState:
        """The state to go on with in boot ``boot_id``.

        After a reboot the processes are forgotten; the budget is not, and its times move to the new boot clock."""
        if self.boot_id == boot_id or self.clocks is None:
            return msgspec.structs.replace(self, boot_id=boot_id)
        away = max(0.0, clocks.wall - self.clocks.wall)
        shift = clocks.boottime - away - self.clocks.boottime
        return WatchdogState(
            boot_id=boot_id,
            actions=tuple(msgspec.structs.replace(a, at=a.at + shift) for a in self.actions),
            counters=self.counters,
            circuit_open=self.circuit_open,
            circuit_open_wall=self.circuit_open_wall,
            rearm_at=None if self.rearm_at is None else self.rearm_at + shift,
            level=self.level,
            subject=msgspec.structs.replace(self.subject, master=None, workers=()),
            trouble=msgspec.structs.replace(self.trouble, since=self.trouble.since + shift)
            if self.trouble
            else None,
            last_recovery_seconds=self.last_recovery_seconds,
            unfixable=self.unfixable,
            unfixable_fingerprint=self.unfixable_fingerprint,
        )


def to_json(state: WatchdogState) -> bytes:
    """``state`` as one JSON document."""
    return msgspec.json.format(msgspec.json.encode(state), indent=1)


def from_json(content: bytes) -> WatchdogState:
    """The state in ``content``. Raises msgspec.DecodeError if it is torn, or is something else."""
    state = msgspec.json.decode(content, type=WatchdogState)
    if state.version != VERSION:
        raise msgspec.ValidationError(f"version {state.version} is not {VERSION}")
    return state
