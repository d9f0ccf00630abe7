"""What the watchdog remembers from round to round, also across its own end: plain data.

Times are seconds on the boot clock (`ops/supervision/observation.py`), which no one can set; ``carried_over`` brings
them onto the next boot's clock. ``wall`` beside them is for readers of the file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ops.interpret.process_ref import ProcessRef
from ops.supervision.observation import Clocks
from ops.text.sanitize import safe_line

Rung = Literal["continue_master", "terminate_worker", "kill_worker", "reload", "restart"]
RUNGS: tuple[Rung, ...] = ("continue_master", "terminate_worker", "kill_worker", "reload", "restart")
VERSION = 1
# Actions kept for the budget and for `status`; budgets are small.
MAX_ACTIONS = 50
MAX_DETAIL_CHARS = 2000


class WorkerState(msgspec.Struct):
    """What was seen of one worker before. ``share``: CPU seconds a second between the last two looks far enough apart;
    ``same_stacks``: whether its last two stack dumps were alike, None before there are two.

    Of a worker without a record: ``still``, each thread's nanoseconds run and since when it has not run;
    ``examined_at``, when its stacks were last seen, ``at_work``, how many threads stood in a request then, None where
    that cannot be told, and ``stuck_threads``, those that have not run since.

    Of its memory: ``resident`` at the last look, the ``least`` since it began to serve, whether it is ``growing``."""

    start_ticks: int
    cpu: float
    cpu_at: float
    share: float | None = None
    dump: str = ""
    dump_at: float = 0.0
    same_stacks: bool | None = None
    still: dict[str, tuple[int, float]] = {}
    examined_at: float = 0.0
    at_work: int | None = None
    stuck_threads: tuple[str, ...] = ()
    resident: int = 0
    least: int = 0
    growing: bool = False


class Action(msgspec.Struct):
    """One thing the watchdog did. It is written down before it is done, so that a crash cannot hide it."""

    at: float
    wall: float
    rung: Rung
    fault: str
    pid: int | None = None
    outcome: str = "begun"


class Pending(msgspec.Struct):
    """The step taken last, until its effect is proven or ``until`` has passed.

    ``kill_at``: when a worker asked to end is killed; ``retired``: stuck workers that go once a reload's new ones
    serve."""

    rung: Rung
    at: float
    until: float
    worker: ProcessRef | None = None
    kill_at: float | None = None
    retired: tuple[ProcessRef, ...] = ()


class Trouble(msgspec.Struct):
    """What is wrong just now. ``evidence``: the directory that holds the proof; ``causes``: the doctor's codes."""

    fault: str
    since: float
    wall: float
    detail_en: str = ""
    detail_zh: str = ""
    announced: bool = False
    evidence: str = ""
    causes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # It quotes logs, answers and command lines, and goes to disk.
        self.detail_en = safe_line(self.detail_en, MAX_DETAIL_CHARS)
        self.detail_zh = safe_line(self.detail_zh, MAX_DETAIL_CHARS)


class Subject(msgspec.Struct):
    """The service as last seen: enough to recognise it, and to start it, once it is gone. ``uid``: who started its
    master, by the kernel's word; None: not seen."""

    backend: str = ""
    master: ProcessRef | None = None
    command: tuple[str, ...] = ()
    cwd: str = ""
    error_log: str = ""
    access_log: str = ""
    workers: tuple[ProcessRef, ...] = ()
    # gunicorn's setting, 0 where it is not known.
    threads: int = 0
    uid: int | None = None
    # The name that the service is asked by.
    host: str = ""


class WatchdogState(msgspec.Struct):
    """Everything between two rounds."""

    version: int = VERSION
    boot_id: str = ""
    clocks: Clocks | None = None
    rounds: int = 0
    state: str = "unknown"
    state_since: float = 0.0
    state_wall: float = 0.0
    failures: int = 0
    control_failures: int = 0
    saturated: bool = False
    saturation_told: bool = False
    trouble: Trouble | None = None
    pending: Pending | None = None
    subject: Subject = msgspec.field(default_factory=Subject)
    workers: dict[str, WorkerState] = {}
    # Stamps of records before this (Unix seconds) are not to be trusted: the clock was set, or the machine slept.
    distrust_before: float = 0.0
    last_answer: float | None = None
    answer_marks: dict[str, int] = {}
    workers_seen_at: float | None = None
    # Since when a master that was there is missing.
    master_gone_since: float | None = None
    # When the watchdog began the restart whose master has not been seen well yet.
    restarting_since: float | None = None
    # What the master that serves now lacks of the one before it, as far as the watchdog started it (launch.py).
    environment_lost: tuple[str, ...] = ()
    other_user: bool = False
    actions: list[Action] = []
    counters: dict[str, int] = {}
    # The budget: ``holding`` once it is spent; an attempt is allowed again at ``rearm_at``, ``level`` doubles the wait.
    holding: bool = False
    holding_wall: float = 0.0
    rearm_at: float | None = None
    level: int = 0
    healthy_since: float | None = None
    # What the doctor named is not mended by a start: nothing is tried while the files it depends on stay as they are.
    futile: bool = False
    futile_fingerprint: str = ""
    last_recovery_seconds: float | None = None

    @property
    def gave_up(self) -> bool:
        """Whether it does nothing for now, and a person is needed (OPS007)."""
        return self.holding or self.futile

    def carried_over(self, boot_id: str, clocks: Clocks) -> WatchdogState:
        """This memory after a reboot: processes are forgotten, the budget is not, its times moved to the new clock."""
        if self.boot_id == boot_id or self.clocks is None:
            return msgspec.structs.replace(self, boot_id=boot_id)
        away = max(0.0, clocks.wall - self.clocks.wall)
        shift = clocks.boottime - away - self.clocks.boottime
        return WatchdogState(
            boot_id=boot_id,
            actions=[msgspec.structs.replace(a, at=a.at + shift) for a in self.actions],
            counters=dict(self.counters),
            holding=self.holding,
            holding_wall=self.holding_wall,
            rearm_at=None if self.rearm_at is None else self.rearm_at + shift,
            level=self.level,
            subject=msgspec.structs.replace(self.subject, master=None, workers=()),
            trouble=msgspec.structs.replace(self.trouble, since=self.trouble.since + shift)
            if self.trouble
            else None,
            last_recovery_seconds=self.last_recovery_seconds,
            futile=self.futile,
            futile_fingerprint=self.futile_fingerprint,
        )


def to_json(memory: WatchdogState) -> bytes:
    """The memory as one JSON document."""
    return msgspec.json.format(msgspec.json.encode(memory), indent=1)


def from_json(content: bytes) -> WatchdogState:
    """The memory in ``content``. Raises msgspec.DecodeError where it is torn or something else."""
    memory = msgspec.json.decode(content, type=WatchdogState)
    if memory.version != VERSION:
        raise msgspec.ValidationError(f"version {memory.version} is not {VERSION}")
    return memory
