"""From one look and what is remembered to a verdict. Pure: no clock is read, no process touched.

The rules and the measurements behind them stand in docs/watchdog.md. The one above all: a failed probe alone is
never a reason to kill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from ops.facts.probes import Exchange
from ops.interpret.process_ref import ProcessRef
from ops.interpret.progress import in_flight_ages, silence
from ops.supervision.observation import STOPPED, TRACED, Holder, Observation, Worker
from ops.supervision.rules import (
    CONTROL_FAILURES,
    FEW_DESCRIPTORS,
    FLAT_SHARE,
    GONE_FOR,
    GROWTH_BYTES,
    OVERLOAD_DEADLINES,
    PATIENT_DEADLINES,
    SHORT_BYTES,
    SHORT_SHARE,
    Rules,
)
from ops.supervision.state import WatchdogState, WorkerState
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.supervision.stacks import Stacks

State = Literal["healthy", "saturated", "booting", "suspect", "failing", "foreign", "unjudged"]
# The states in which requests are served.
ALIVE: tuple[State, ...] = ("healthy", "saturated")
Kind = Literal[
    "idle",
    "busy",
    "booting",
    "boot_hung",
    "stopped",
    "traced",
    "suspect",
    "hung",
    "livelock",
    "partly",
    "eating",
    "unknown",
]
# What the ladder may act on, the surest first.
NOTHING = Text(en="", zh="")
STUCK: tuple[Kind, ...] = ("stopped", "hung", "livelock", "boot_hung", "partly", "eating")


@dataclass(frozen=True)
class WorkerVerdict:
    """One worker: what it is, for how long (seconds), and whether all its requests in flight are past the deadline.

    ``wants_dump``: its stacks say, or have to say again, whether it moves."""

    identity: ProcessRef
    kind: Kind
    seconds: float = 0.0
    all_wedged: bool = True
    path: str = ""
    wants_dump: bool = False

    @property
    def is_stuck(self) -> bool:
        """Whether it will not come back by itself."""
        return self.kind in STUCK


@dataclass(frozen=True)
class Assessment:
    """The service as a whole. ``fault`` names what is wrong (ops/supervision/sentences.py), ``detail`` says it of this
    case.

    ``confirmed``: proven so often, or so surely, that it may be acted on. ``saturated``: alive, and with more to do
    than it can."""

    state: State
    fault: str = ""
    detail: Text = NOTHING
    workers: tuple[WorkerVerdict, ...] = ()
    confirmed: bool = False
    saturated: bool = False
    holders: tuple[Holder, ...] = ()

    @property
    def wants_dumps(self) -> tuple[ProcessRef, ...]:
        """Workers whose stacks are needed before anything more can be said."""
        return tuple(w.identity for w in self.workers if w.wants_dump)

    @property
    def stuck(self) -> tuple[WorkerVerdict, ...]:
        """The stuck workers, the surest case first."""
        return tuple(sorted((w for w in self.workers if w.is_stuck), key=lambda w: STUCK.index(w.kind)))


def assess(look: Observation, memory: WatchdogState, rules: Rules) -> Assessment:
    """What is the matter. ``memory`` has been brought up to date with this look (`remembered`); its ``failures`` count
    this round already, as if it failed."""
    verdict = _by_processes(look, memory, rules)
    if (memory.environment_lost or memory.other_user) and verdict.state in ALIVE:
        return _not_as_before(verdict, memory)
    return verdict


def _not_as_before(verdict: Assessment, memory: WatchdogState) -> Assessment:
    """It serves, but not as before: who was refused may be let in. Nothing the watchdog does mends that."""
    named = ", ".join(memory.environment_lost)
    en = [f"without {named} as it was"] if named else []
    zh = [f"环境变量 {named} 缺失或不同"] if named else []
    if memory.other_user:
        en.append("as another user")
        zh.append("运行用户不同")
    return replace(
        verdict,
        state="failing",
        fault="environment_changed",
        detail=Text(
            en=f"the service was started again, but {' and '.join(en)}: restart it by hand as it is to run; "
            "if it is right as it is: gte-ops watchdog forget",
            zh=f"服务已重新启动，但{'，'.join(zh)}：请按应有的环境手动重启；如果现状正确：gte-ops watchdog forget",
        ),
        confirmed=False,
    )


def _by_processes(look: Observation, memory: WatchdogState, rules: Rules) -> Assessment:
    if look.own_trouble is not None:
        return Assessment("unjudged", "own_trouble", Text(en=look.own_trouble, zh=look.own_trouble))
    if look.master is None:
        return _without_master(look, memory, rules)
    if look.master.state in TRACED:
        return Assessment(
            "unjudged",
            "traced",
            Text(
                en=f"a debugger holds the master {look.master.pid}",
                zh=f"主进程 {look.master.pid} 正被调试器跟踪",
            ),
        )
    if look.master.state in STOPPED:
        return Assessment(
            "failing",
            "master_stopped",
            Text(
                en=f"the master, pid {look.master.pid}, is stopped (state T)",
                zh=f"主进程 {look.master.pid} 已被暂停（状态 T）",
            ),
            confirmed=memory.failures >= rules.failures,
        )
    workers = tuple(judge_worker(w, look, memory, rules) for w in look.workers)
    if memory.control_failures >= CONTROL_FAILURES:
        return Assessment(
            "failing",
            "master_hung",
            Text(
                en=f"the master's control socket did not answer {memory.control_failures} times in a row",
                zh=f"主进程的控制套接字连续 {memory.control_failures} 次没有应答",
            ),
            workers,
            confirmed=True,
        )
    if not look.workers:
        return _without_workers(look, memory, rules)
    if any(w.is_stuck for w in workers):
        return _with_stuck_workers(workers, memory, rules)
    eating = _eater(look, memory)
    if eating is not None:
        return _with_an_eater(eating, workers, look, memory, rules)
    return _with_living_workers(workers, look, memory, rules)


def judge_worker(worker: Worker, look: Observation, memory: WatchdogState, rules: Rules) -> WorkerVerdict:
    """One worker by its state, its record, its CPU and its stacks."""
    who = ProcessRef(worker.pid, worker.start_ticks)
    known = memory.workers.get(str(worker.pid))
    if worker.state in STOPPED:
        return WorkerVerdict(who, "stopped")
    if worker.state in TRACED:
        return WorkerVerdict(who, "traced")
    alive_for = max(0.0, look.clocks.boottime - worker.started)
    record = worker.record
    if _is_booting(worker, look):
        return WorkerVerdict(who, "boot_hung" if alive_for > rules.boot_deadline else "booting", alive_for)
    if record is None:
        return _without_record(who, known, look.clocks.boottime, memory.subject.threads, alive_for, rules)
    if not record.in_flight:
        return WorkerVerdict(who, "idle")
    ages = in_flight_ages(record, look.clocks.wall, memory.distrust_before)
    age = max(ages)
    oldest = record.in_flight[ages.index(age)].path
    if age <= rules.request_deadline:
        return WorkerVerdict(who, "busy", age)
    silent = silence(record, look.clocks.wall, memory.distrust_before, age)
    all_wedged = min(ages) > rules.request_deadline
    same = known.same_stacks if known else None
    share = known.share if known else None
    if silent <= rules.request_deadline:
        # Others of its requests complete: only what does not move for long, by its stacks, is given up.
        if age <= PATIENT_DEADLINES * rules.request_deadline:
            return WorkerVerdict(who, "busy", age, all_wedged=False, path=oldest)
        kind: Kind = "partly" if same else "suspect" if same is None else "busy"
        return WorkerVerdict(who, kind, age, all_wedged=False, path=oldest, wants_dump=True)
    if share is None:
        return WorkerVerdict(who, "suspect", silent, all_wedged, oldest, wants_dump=True)
    if share > FLAT_SHARE:
        spins = min(age, silent) > PATIENT_DEADLINES * rules.request_deadline
        return WorkerVerdict(who, "livelock" if spins else "busy", silent, all_wedged, oldest)
    kind = "hung" if same else "suspect" if same is None else "busy"
    return WorkerVerdict(who, kind, silent, all_wedged, oldest, wants_dump=True)


def _without_record(
    who: ProcessRef, known: WorkerState | None, now: float, threads: int, alive_for: float, rules: Rules
) -> WorkerVerdict:
    """A worker that keeps no account, by threads that have not run at all for a deadline and stand in a request.

    That proves one request stuck in each: a thread that serves many runs in between. What wakes up now and then, or
    spins, is not told from work this way, and left alone."""
    unknown = WorkerVerdict(who, "unknown", alive_for)
    if known is None:
        return unknown
    deadline = rules.request_deadline
    still = [now - known.still[thread][1] for thread in known.stuck_threads if thread in known.still]
    stuck = [seconds for seconds in still if seconds > deadline]
    if not stuck:
        # Idle threads stand still too. One look at their stacks is good until they run again.
        unexamined = any(
            now - since > deadline and since > known.examined_at for _, since in known.still.values()
        )
        return replace(unknown, wants_dump=unexamined)
    seconds = max(stuck)
    # A sync worker serves in its main thread, whose id is the pid: it has no other.
    all_wedged = str(who.pid) in known.stuck_threads or 0 < threads <= len(stuck)
    if not all_wedged and seconds <= PATIENT_DEADLINES * deadline:
        return WorkerVerdict(who, "busy", seconds, all_wedged=False)
    same = known.same_stacks
    proven: Kind = "hung" if all_wedged else "partly"
    kind: Kind = proven if same else "suspect" if same is None else "busy"
    return WorkerVerdict(who, kind, seconds, all_wedged, wants_dump=True)


def _eater(look: Observation, memory: WatchdogState) -> Worker | None:
    """The worker that eats up the memory, where that is about to run out; None where none is proven to.

    Proven: it has at least doubled since it began to serve, it is growing, and what it has taken is more than what
    would be enough. Many large workers are a matter of configuration, and not mended by replacing one."""
    room = look.room
    if room is None:
        return None
    enough = min(SHORT_SHARE * room.total, SHORT_BYTES)
    if room.available >= enough:
        return None

    def taken(worker: Worker) -> int:
        known = memory.workers.get(str(worker.pid))
        return worker.resident - known.least if known is not None and known.least and known.growing else 0

    worst = max(look.workers, key=taken, default=None)
    if worst is None or taken(worst) < max(enough, worst.resident / 2):
        return None
    return worst


def _with_an_eater(
    eating: Worker, workers: tuple[WorkerVerdict, ...], look: Observation, memory: WatchdogState, rules: Rules
) -> Assessment:
    assert look.room is not None  # noqa: S101  its caller has looked
    left, size = look.room.available >> 20, eating.resident >> 20
    least = memory.workers[str(eating.pid)].least >> 20
    judged = tuple(
        WorkerVerdict(w.identity, "eating", w.seconds, all_wedged=False)
        if w.identity.pid == eating.pid
        else w
        for w in workers
    )
    return Assessment(
        "failing",
        "worker_memory",
        Text(
            en=f"worker {eating.pid} has grown from {least} to {size} MiB, and {left} MiB of memory are left",
            zh=f"工作进程 {eating.pid} 从 {least} MiB 增长到 {size} MiB，内存仅剩 {left} MiB",
        ),
        judged,
        confirmed=memory.failures >= rules.failures,
    )


def _is_booting(worker: Worker, look: Observation) -> bool:
    """Whether a worker has not begun to serve.

    The service answers /health while its models load, so completions alone do not end its boot. But an application
    that uses the hooks and never reports ready is no service that boots for ever: then /ready does not say so."""
    record = worker.record
    if record is None:
        return worker.booting_by_control
    if record.phase != "booting":
        return False
    return record.completed == 0 or _ready_reason(look) == "loading"


def _ready_reason(look: Observation) -> str:
    """Why /ready refuses; empty where it does not."""
    if not isinstance(look.ready, Exchange) or look.ready.status != 503:
        return ""
    told = look.ready.json()
    return str(told.get("reason") or "") if isinstance(told, dict) else ""


def _without_master(look: Observation, memory: WatchdogState, rules: Rules) -> Assessment:
    answered = isinstance(look.health, Exchange) and look.health.status is not None
    holders = look.holders if isinstance(look.holders, tuple) else ()
    foreign = tuple(holder for holder in holders if not holder.ours)
    if foreign:
        named = ", ".join(f"pid {holder.pid} ({holder.command})" for holder in foreign)
        return Assessment(
            "foreign",
            "port_taken",
            Text(
                en=f"{look.backend} is held by another program: {named}",
                zh=f"{look.backend} 被其他程序占用：{named}",
            ),
            holders=foreign,
        )
    if answered and not holders:
        # Served, but by whom may not be seen (another user's process): nothing to act on.
        return _by_answer(look)
    if not isinstance(look.holders, tuple) and not _refused(look):
        return Assessment(
            "failing",
            "holder_unseen",
            Text(
                en=f"no master is seen, and who holds {look.backend} is not visible: {look.holders.reason}",
                zh=f"看不到主进程，也看不到谁占用 {look.backend}：{look.holders.reason}",
            ),
        )
    return Assessment(
        "failing",
        "master_gone",
        Text(en="gunicorn's master is gone", zh="gunicorn 主进程已不存在"),
        confirmed=memory.failures >= rules.failures or gone_for(memory, look.clocks.boottime) >= GONE_FOR,
        holders=holders,
    )


def gone_for(memory: WatchdogState, now: float) -> float:
    """For how long a master that was there is missing, seconds; 0 where it is there, or none was seen yet."""
    return now - memory.master_gone_since if memory.master_gone_since is not None else 0.0


def _without_workers(look: Observation, memory: WatchdogState, rules: Rules) -> Assessment:
    assert look.master is not None  # noqa: S101  its caller has looked
    since = max(look.master.started, memory.workers_seen_at or 0.0)
    seconds = look.clocks.boottime - since
    if seconds <= rules.boot_deadline:
        return Assessment(
            "booting",
            "booting",
            Text(
                en=f"the master has no worker yet ({seconds:.0f} s)",
                zh=f"主进程尚无工作进程（{seconds:.0f} 秒）",
            ),
        )
    return Assessment(
        "failing",
        "no_workers",
        Text(
            en=f"the master has had no worker for {seconds:.0f} s, longer than the boot deadline",
            zh=f"主进程已 {seconds:.0f} 秒没有工作进程，超过启动期限",
        ),
        confirmed=memory.failures >= rules.failures,
    )


def _with_stuck_workers(
    workers: tuple[WorkerVerdict, ...], memory: WatchdogState, rules: Rules
) -> Assessment:
    stuck = tuple(sorted((w for w in workers if w.is_stuck), key=lambda w: STUCK.index(w.kind)))
    worst = stuck[0]
    serving = [w for w in workers if w.kind not in ("booting", "boot_hung", "stopped", "traced")]
    suspect = [w for w in serving if w.kind in ("hung", "livelock", "suspect")]
    proven_by_deadline = worst.kind in ("hung", "livelock")
    if proven_by_deadline and len(suspect) == len(serving):
        silent = min(w.seconds for w in suspect)
        if silent <= OVERLOAD_DEADLINES * rules.request_deadline:
            return Assessment(
                "suspect",
                "overload",
                Text(
                    en=f"nothing has completed for {silent:.0f} s in any worker: overload until "
                    f"{OVERLOAD_DEADLINES * rules.request_deadline:.0f} s",
                    zh=f"所有工作进程已 {silent:.0f} 秒没有完成请求：在满 "
                    f"{OVERLOAD_DEADLINES * rules.request_deadline:.0f} 秒之前视为过载",
                ),
                workers,
                saturated=True,
            )
    enough = worst.kind != "stopped" or memory.failures >= rules.failures
    return Assessment("failing", f"worker_{worst.kind}", _stuck_words(worst), workers, confirmed=enough)


def _stuck_words(worker: WorkerVerdict) -> Text:
    pid, seconds = worker.identity.pid, worker.seconds
    path = f" ({worker.path})" if worker.path else ""
    match worker.kind:
        case "stopped":
            return Text(en=f"worker {pid} is stopped (state T)", zh=f"工作进程 {pid} 已被暂停（状态 T）")
        case "hung":
            return Text(
                en=f"worker {pid}: nothing completed for {seconds:.0f} s{path}, CPU flat, stacks unchanged",
                zh=f"工作进程 {pid}：{seconds:.0f} 秒没有完成请求{path}，不占 CPU，调用栈不变",
            )
        case "livelock":
            return Text(
                en=f"worker {pid}: nothing completed for {seconds:.0f} s{path}, yet it uses CPU",
                zh=f"工作进程 {pid}：{seconds:.0f} 秒没有完成请求{path}，却一直占用 CPU",
            )
        case "boot_hung":
            return Text(
                en=f"worker {pid} has been booting for {seconds:.0f} s",
                zh=f"工作进程 {pid} 启动已 {seconds:.0f} 秒仍未完成",
            )
    return Text(
        en=f"worker {pid}: a request{path} has been stuck for {seconds:.0f} s while others complete",
        zh=f"工作进程 {pid}：有请求{path}卡住 {seconds:.0f} 秒，其他请求仍能完成",
    )


def _with_living_workers(
    workers: tuple[WorkerVerdict, ...], look: Observation, memory: WatchdogState, rules: Rules
) -> Assessment:
    suspects = tuple(w for w in workers if w.kind == "suspect")
    if suspects:
        worst = max(suspects, key=lambda w: w.seconds)
        return Assessment(
            "suspect",
            "worker_suspect",
            Text(
                en=f"worker {worst.identity.pid} may be stuck: nothing completed for {worst.seconds:.0f} s; looking on",
                zh=f"工作进程 {worst.identity.pid} 可能卡住：{worst.seconds:.0f} 秒没有完成请求，继续观察",
            ),
            workers,
            saturated=all(w.kind in ("suspect", "busy", "booting") for w in workers),
        )
    if any(w.kind == "traced" for w in workers):
        pid = next(w.identity.pid for w in workers if w.kind == "traced")
        return Assessment(
            "unjudged",
            "traced",
            Text(en=f"a debugger holds worker {pid}", zh=f"工作进程 {pid} 正被调试器跟踪"),
            workers,
        )
    if isinstance(look.health, Exchange) and look.health.status is not None:
        return replace(_by_answer(look), workers=workers)
    busy = [w for w in workers if w.kind == "busy"]
    serving = [w for w in workers if w.kind not in ("booting",)]
    if not serving:
        seconds = max(w.seconds for w in workers)
        return Assessment(
            "booting",
            "booting",
            Text(
                en=f"the workers are booting ({seconds:.0f} s)",
                zh=f"工作进程正在启动（{seconds:.0f} 秒）",
            ),
            workers,
        )
    moves = memory.last_answer is not None and memory.last_answer >= look.clocks.boottime
    if (busy or moves) and not _refused(look):
        # They complete requests, or have not had one for longer than it may take: alive, and too busy for /health.
        return Assessment(
            "saturated",
            "saturated",
            Text(
                en=f"{len(busy)} of {len(workers)} workers are busy, and {_health_path(look)} waits",
                zh=f"{len(workers)} 个工作进程中 {len(busy)} 个繁忙，{_health_path(look)} 在排队",
            ),
            workers,
            saturated=True,
        )
    return _unanswered(workers, look, memory, rules)


def _unanswered(
    workers: tuple[WorkerVerdict, ...], look: Observation, memory: WatchdogState, rules: Rules
) -> Assessment:
    """Nobody answers, and no record accuses anyone: only long silence, flat CPU and stacks that stand still do."""
    silent = look.clocks.boottime - (
        memory.last_answer if memory.last_answer is not None else look.clocks.boottime
    )
    detail = look.health.detail if isinstance(look.health, Exchange) else look.health.reason
    words = _with_descriptors(
        look,
        Text(
            en=f"{_health_path(look)} is not answered ({detail}); last sign of life {silent:.0f} s ago",
            zh=f"{_health_path(look)} 没有应答（{detail}）；上次有迹象是 {silent:.0f} 秒前",
        ),
    )
    if _refused(look) or silent <= OVERLOAD_DEADLINES * rules.request_deadline:
        return Assessment("failing", "not_answering", words, workers)
    known = [memory.workers.get(str(w.identity.pid), WorkerState(0, 0.0, 0.0)) for w in workers]
    if any(k.share is None or k.share > FLAT_SHARE for k in known):
        return Assessment("failing", "not_answering", words, workers)
    # Who stands in no request is idle, and a service with an idle worker is not hung, but hard to reach.
    idle = any(k.at_work == 0 for k in known)
    proven = not idle and all(k.same_stacks for k in known) and memory.failures >= rules.failures
    asked = tuple(replace(w, wants_dump=True) for w in workers)
    return Assessment("failing", "not_answering", words, asked, confirmed=proven)


def _by_answer(look: Observation) -> Assessment:
    """What /health and /ready say of a service that answers."""
    health = look.health
    assert isinstance(health, Exchange)  # noqa: S101  its callers have looked
    if health.status is None or not 200 <= health.status < 300:
        return Assessment(
            "failing",
            "health_fails",
            _with_descriptors(
                look,
                Text(
                    en=f"/health answers {health.status}: a restart is not known to help",
                    zh=f"/health 返回 {health.status}：重启未必有用",
                ),
            ),
        )
    reason = _ready_reason(look)
    if reason:
        if reason == "saturated":
            return Assessment(
                "saturated",
                "saturated",
                Text(en="/ready says saturated", zh="/ready 报告已饱和"),
                saturated=True,
            )
        if reason == "loading":
            return Assessment(
                "booting", "booting", Text(en="/ready says loading", zh="/ready 报告正在加载模型")
            )
        return Assessment(
            "failing",
            "not_ready",
            Text(
                en=f"/ready says {reason}: a restart does not mend that",
                zh=f"/ready 报告 {reason}：重启无法解决",
            ),
        )
    return Assessment("healthy", "", Text(en="the service answers", zh="服务有应答"))


def _with_descriptors(look: Observation, words: Text) -> Text:
    """``words``, and which workers have no descriptor left: a likely reason, and no proof of a hang."""
    spent = [
        (w.pid, *w.descriptors)
        for w in look.workers
        if w.descriptors is not None and w.descriptors[0] >= w.descriptors[1] - FEW_DESCRIPTORS
    ]
    for pid, used, limit in spent:
        words = Text(
            en=f"{words.en}; worker {pid} has {used} of {limit} descriptors open",
            zh=f"{words.zh}；工作进程 {pid} 已打开 {used}/{limit} 个文件描述符",
        )
    return words


def _health_path(look: Observation) -> str:
    """The health URL's path as it was asked, for sentences."""
    url = look.health.url if isinstance(look.health, Exchange) else ""
    return "/" + url.partition("://")[2].partition("/")[2] if url else "/health"


def _refused(look: Observation) -> bool:
    return isinstance(look.health, Exchange) and look.health.failure in ("refused", "missing")


# --- what a look adds to the memory -----------------------------------------------------------------------------------


def own_trouble(look: Observation, memory: WatchdogState, *, expected_gap: float | None) -> str | None:
    """Why this round cannot be judged: the clock was set, the machine slept, or the watchdog itself was held up.

    ``expected_gap``: seconds until the next round as the loop planned it, None between separate runs."""
    if look.own_trouble is not None:
        return look.own_trouble
    before, now = memory.clocks, look.clocks
    if before is None:
        return None
    elapsed = now.boottime - before.boottime
    slept = (now.boottime - now.monotonic) - (before.boottime - before.monotonic)
    if slept > 2.0:
        return f"the machine slept for {slept:.0f} s"
    jumped = (now.wall - now.boottime) - (before.wall - before.boottime)
    # A clock being slewed drifts up to 500 ppm (adjtimex(2)); that is no jump.
    if abs(jumped) > 2.0 + 0.001 * elapsed:
        return f"the clock was set by {jumped:+.0f} s"
    if expected_gap is not None and elapsed > 3 * expected_gap + 10.0:
        return f"the watchdog itself was held up for {elapsed:.0f} s"
    return None


def remembered(look: Observation, memory: WatchdogState, rules: Rules, trouble: str | None) -> WatchdogState:
    """``memory`` after this look, before it is judged."""
    now = look.clocks.boottime
    distrust = memory.distrust_before
    if trouble is not None:
        # After a clock set back, stamps older than it lie in the future; after any of these, ages mean nothing.
        distrust = look.clocks.wall
    workers: dict[str, WorkerState] = {}
    answered = isinstance(look.health, Exchange) and look.health.status is not None
    marks = _answer_marks(look)
    alive = answered or any(value != memory.answer_marks.get(name, value) for name, value in marks.items())
    for worker in look.workers:
        workers[str(worker.pid)] = _worker_remembered(worker, memory.workers.get(str(worker.pid)), now, rules)
    subject = memory.subject
    if look.master is not None:
        subject = msgspec.structs.replace(
            subject,
            backend=look.backend,
            master=ProcessRef(look.master.pid, look.master.start_ticks),
            workers=tuple(ProcessRef(w.pid, w.start_ticks) for w in look.workers),
        )
    gone_since = memory.master_gone_since
    if look.master is not None or trouble is not None:
        gone_since = None
    elif gone_since is None and memory.workers_seen_at is not None:
        gone_since = now
    control = memory.control_failures
    if look.control_answers is not None:
        control = 0 if look.control_answers else control + 1
    return msgspec.structs.replace(
        memory,
        clocks=look.clocks,
        rounds=memory.rounds + 1,
        control_failures=0 if look.master is None or trouble else control,
        subject=subject,
        workers=workers,
        distrust_before=distrust,
        last_answer=now if alive or memory.last_answer is None or trouble else memory.last_answer,
        answer_marks=marks,
        workers_seen_at=now if look.workers else memory.workers_seen_at,
        master_gone_since=gone_since,
    )


def _answer_marks(look: Observation) -> dict[str, int]:
    """What changes when the service answers anyone: completions by worker, the access log's size."""
    marks = {str(w.pid): w.record.completed for w in look.workers if w.record is not None}
    if look.access_log_size is not None:
        marks["access log"] = look.access_log_size
    return marks


def _worker_remembered(worker: Worker, known: WorkerState | None, now: float, rules: Rules) -> WorkerState:
    if known is None or known.start_ticks != worker.start_ticks:
        known = WorkerState(start_ticks=worker.start_ticks, cpu=worker.cpu, cpu_at=now)
    else:
        known = msgspec.structs.replace(known)
    known.still = {
        thread: known.still[thread] if known.still.get(thread, (-1, 0.0))[0] == run else (run, now)
        for thread, run in worker.threads.items()
    }
    # One that ran after its stack was seen may be anywhere.
    known.stuck_threads = tuple(
        thread
        for thread in known.stuck_threads
        if thread in known.still and known.still[thread][1] <= known.examined_at
    )
    serves = worker.record.phase == "ready" if worker.record else now - worker.started > rules.boot_deadline
    if serves:
        known.least = min(known.least or worker.resident, worker.resident)
    elapsed = now - known.cpu_at
    if elapsed >= 0.8 * rules.dump_gap:
        known.share = max(0.0, worker.cpu - known.cpu) / elapsed
        known.growing = worker.resident > known.resident + GROWTH_BYTES
        known.cpu, known.cpu_at, known.resident = worker.cpu, now, worker.resident
    return known


def with_thread_dump(known: WorkerState, taken: Stacks, now: float, rules: Rules) -> WorkerState:
    """``known`` of a worker without a record after its stacks were seen: which still threads stand in a request."""
    at_work = tuple(thread for thread in known.still if thread in taken.at_work)
    told_apart = len(taken.at_work) if taken.digest.startswith("python:") else None
    known = msgspec.structs.replace(known, examined_at=now, at_work=told_apart, stuck_threads=at_work)
    stuck = [thread for thread in at_work if now - known.still[thread][1] > rules.request_deadline]
    return with_dump(known, taken.digest_of(stuck) if stuck else taken.digest, now, rules.dump_gap)


def with_dump(known: WorkerState, digest: str, now: float, gap: float) -> WorkerState:
    """``known`` after another stack dump: alike or not, once two of them lie ``gap`` seconds apart."""
    if not digest:
        return known
    if known.dump and now - known.dump_at < 0.8 * gap:
        return known
    same = (digest == known.dump) if known.dump else None
    return msgspec.structs.replace(known, dump=digest, dump_at=now, same_stacks=same)


def without_dumps(memory: WatchdogState, wanted: Iterable[ProcessRef]) -> WatchdogState:
    """Forget the stacks of workers that are no longer suspected: an old dump proves nothing of a new request."""
    keep = {str(who.pid) for who in wanted}
    return msgspec.structs.replace(
        memory,
        workers={
            pid: known
            if pid in keep
            else msgspec.structs.replace(known, dump="", dump_at=0.0, same_stacks=None)
            for pid, known in memory.workers.items()
        },
    )
