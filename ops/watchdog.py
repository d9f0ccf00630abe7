"""`gte-ops watchdog`: look --> judge --> decide --> act, one round after another.

A round is short, and everything it needs to know of earlier ones is on disk: `--once` from cron and the resident
service are the same round. The rooms are in ops/watch: what is seen (vitals), what it means (judging), which step is
due (ladder), what is remembered (memory, ledger), who is told (telling). Acting is ops/remedies.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from ops.errors import OpsError
from ops.language import Language, Text
from ops.quoting import safe_line
from ops.remedies.reload import can_reload, reload_gunicorn
from ops.remedies.restart import Supervisor, find_supervisor, restart
from ops.remedies.signals import GoneError, is_alive, kill
from ops.remedies.worker import continue_process, kill_worker, terminate_worker
from ops.settings import Settings, load_settings
from ops.topology.identity import Identity
from ops.watch import ladder, metrics, stacks, vitals
from ops.watch.evidence import Evidence, directory_name
from ops.watch.judging import (
    Verdict,
    in_flight_ages,
    judge,
    own_trouble,
    remembered,
    with_dump,
    without_dumps,
)
from ops.watch.ladder import Means, Step
from ops.watch.ledger import Ledger, Lock, clocks, remove_left_over
from ops.watch.memory import Action, Memory, Pending, Trouble
from ops.watch.notify_socket import NotifySocket
from ops.watch.observation import Look
from ops.watch.rules import Rules, rules_from
from ops.watch.telling import Journal, Teller, fault_name, recovery_body, trouble_body
from ops.watch.wording import RUNGS, STATES

# How soon the effect of a step is looked at again, and the soonest of any extra round, seconds.
LOOK_AGAIN = 0.5
# How long `--once` waits for the effect of what it did; the next run goes on where it stopped.
PATIENCE_ONCE = 60.0
# Looks that `--once` adds while a worker is suspected: two dumps have to lie some seconds apart.
CLOSER_LOOKS = 3
MAX_DUMPS = 4
# SIGKILL works at once; taking down, waiting for the port and starting take up to 20 s until a master is seen.
KILL_SHOWS_WITHIN = 5.0
START_SHOWS_WITHIN = 30.0
# With a state that cannot be written, the budget is what this process remembers, and no more than this.
BUDGET_WITHOUT_STATE = 1
ALIVE = ("healthy", "saturated")
ACTED, FAILING, UNJUDGED = 1, 2, 3


@dataclass(frozen=True)
class Outcome:
    """One round's result. ``again_after``: seconds until the next look, where it must not wait for the interval."""

    verdict: Verdict
    step: Step
    paused: bool
    acted: bool
    again_after: float | None
    holding: bool = False

    @property
    def exit_code(self) -> int:
        """`--once`'s exit code for a run that ended with this round and did nothing."""
        if self.verdict.state == "unjudged":
            return UNJUDGED
        if self.verdict.state in ALIVE:
            return 0
        return FAILING


class Watchdog:
    """The watchdog of one service. Use it with the ledger's lock held."""

    def __init__(
        self,
        settings: Settings,
        settings_path: Path | None,
        language: Language,
        journal: Journal,
        *,
        resident: bool,
    ) -> None:
        self.settings, self.settings_path = settings, settings_path
        self.rules: Rules = rules_from(settings)
        self.ledger = Ledger(Path(settings.watchdog.state_file))
        self.journal = journal
        self.language = language
        self.resident = resident
        self.state_directory = self.ledger.path.parent
        self.teller = Teller(self._beside("outbox"), settings.notify.urls, language, journal)
        self.memory = self.ledger.load(clocks())
        self._started: list[subprocess.Popen[bytes]] = []
        self._evidence: Evidence | None = None
        self._jitter = random.Random()  # noqa: S311  spreads waits, keeps no secret
        self._metrics_trouble = False
        self._state_trouble = False
        if self.ledger.set_aside is not None:
            self.journal.note("state_torn", detail=f"set aside as {self.ledger.set_aside}")
            self._tell_of_torn_state()

    # --- one round ----------------------------------------------------------------------------------------------------

    def round(self, *, counts: bool = True, expected_gap: float | None = None) -> Outcome:
        """Look, judge, decide, act, remember. ``counts``: whether a failure adds to the count; extra looks do not.

        ``expected_gap``: seconds since the last round as planned, None where nothing was."""
        self._reap()
        sight = vitals.look_at(self.settings, self.memory)
        look = sight.look
        trouble = own_trouble(look, self.memory, expected_gap=expected_gap)
        if trouble is not None:
            look = msgspec.structs.replace(look, own_trouble=trouble)
        memory = msgspec.structs.replace(self.memory, subject=sight.subject)
        memory = remembered(look, memory, self.rules, trouble)
        memory.failures += 1 if counts else 0
        verdict = judge(look, memory, self.rules)
        if verdict.wants_dumps:
            memory = self._dump(verdict, look, memory)
            verdict = judge(look, memory, self.rules)
        memory = without_dumps(memory, (*verdict.wants_dumps, *(w.identity for w in verdict.stuck)))
        paused = self.ledger.paused(look.clocks.wall) is not None
        memory = self._follow_up(verdict, look, memory)
        memory = self._keep_account(verdict, look, memory)
        step = Step(None)
        if verdict.state in ("failing", "suspect"):
            self._prepare_evidence(verdict, look, memory)
            step, memory = self._decide(verdict, look, memory, paused=paused)
        memory = self._announce(verdict, look, memory, step)
        memory = self._announce_saturation(verdict, look, memory)
        acted = False
        if step.rung is not None:
            acted, memory = self._act(step, verdict, look, memory)
        self._remember(memory, paused=paused)
        self.teller.deliver_beside()
        return Outcome(
            verdict, step, paused, acted, self._again_after(verdict, look, acted), self.memory.gave_up
        )

    def _dump(self, verdict: Verdict, look: Look, memory: Memory) -> Memory:
        """Another stack dump of the suspected workers, kept as evidence."""
        workers = dict(memory.workers)
        for who in verdict.wants_dumps[:MAX_DUMPS]:
            known = workers.get(str(who.pid))
            if known is None or (
                known.dump and look.clocks.boottime - known.dump_at < 0.8 * self.rules.dump_gap
            ):
                continue
            taken = stacks.dump(who.pid)
            updated = with_dump(known, taken.digest, look.clocks.boottime, self.rules.dump_gap)
            workers[str(who.pid)] = updated
            number = 2 if known.dump else 1
            self._evidence_of(verdict, look, memory).put(f"stacks-{who.pid}-{number}.txt", taken.text)
        return msgspec.structs.replace(memory, workers=workers)

    # --- account ------------------------------------------------------------------------------------------------------

    def _keep_account(self, verdict: Verdict, look: Look, memory: Memory) -> Memory:
        """Failures in a row, the state and since when, the budget's healthy time."""
        now = look.clocks
        failures = memory.failures if verdict.state in ("failing", "foreign", "suspect") else 0
        changes: dict[str, object] = {"failures": failures, "saturated": verdict.saturated}
        if verdict.state != memory.state:
            changes |= {"state": verdict.state, "state_since": now.boottime, "state_wall": now.wall}
            if verdict.state != "healthy" or memory.state != "unknown":
                self.journal.note(
                    "state",
                    state=verdict.state,
                    before=memory.state,
                    fault=verdict.fault,
                    detail=verdict.detail.en,
                )
        memory = msgspec.structs.replace(memory, **changes)
        if verdict.state in ALIVE:
            memory = msgspec.structs.replace(memory, futile=False)
            was_holding = memory.holding
            memory = ladder.healthy(memory, self.rules, now.boottime)
            if was_holding and not memory.holding:
                self.journal.note("budget_cleared")
        elif verdict.state != "unjudged":
            memory = msgspec.structs.replace(memory, healthy_since=None)
        if memory.trouble is None and verdict.state in ("failing", "foreign", "suspect"):
            memory = msgspec.structs.replace(
                memory,
                trouble=Trouble(
                    fault=verdict.fault,
                    since=now.boottime,
                    wall=now.wall,
                    detail_en=verdict.detail.en,
                    detail_zh=verdict.detail.zh,
                    evidence=str(self._evidence.path) if self._evidence else "",
                ),
            )
        return memory

    def _follow_up(self, verdict: Verdict, look: Look, memory: Memory) -> Memory:
        """See to the last step: finish what it began, and tell whether it worked."""
        pending = memory.pending
        if pending is None:
            return memory
        now = look.clocks.boottime
        outcome = None
        with contextlib.suppress(OpsError):
            if pending.worker is not None and pending.kill_at is not None and now >= pending.kill_at:
                kill_worker(pending.worker)
            if pending.retired and _has_new_worker(look, pending):
                kill(pending.retired)
                pending = msgspec.structs.replace(pending, retired=())
        gone = pending.worker is None or not is_alive(pending.worker)
        if gone and not pending.retired and verdict.state in ALIVE and _is_whole(look):
            outcome = "recovered"
        elif gone and pending.worker is not None and verdict.stuck and not _is_booting(look):
            outcome = "next"  # this worker was replaced; another is stuck
        elif now >= pending.until or _came_to_nothing(pending, look, gone=gone):
            outcome = "failed"
        if outcome is None:
            return msgspec.structs.replace(memory, pending=pending)
        actions = [*memory.actions]
        for index in range(len(actions) - 1, -1, -1):
            if actions[index].outcome == "begun":
                actions[index] = msgspec.structs.replace(actions[index], outcome=outcome)
                break
        self.journal.note("step", rung=pending.rung, outcome=outcome, seconds=round(now - pending.at, 2))
        return msgspec.structs.replace(memory, pending=None, actions=actions)

    # --- deciding and acting ------------------------------------------------------------------------------------------

    def _decide(self, verdict: Verdict, look: Look, memory: Memory, *, paused: bool) -> tuple[Step, Memory]:
        if not verdict.confirmed:
            return Step(None), memory
        now = look.clocks.boottime
        jitter = self._jitter.random()
        rules = self.rules
        if self._state_trouble:
            rules = replace(rules, budget=min(rules.budget, BUDGET_WITHOUT_STATE) if self.resident else 0)
        needs_cause = (
            verdict.fault in ("master_gone", "no_workers", "not_answering") and memory.pending is None
        )
        causes = self._evidence.causes() if needs_cause and self._evidence is not None else ()
        means = Means(
            restart=self._supervisor() is not None,
            reload=can_reload(
                vitals.config_file(self.settings, memory.subject.cwd), tuple(w.pid for w in look.workers)
            )
            if len(verdict.stuck) > 1
            else False,
            causes=causes,
            fingerprint=self._fingerprint(memory) if causes else "",
        )
        if memory.trouble is not None and causes:
            memory = msgspec.structs.replace(
                memory, trouble=msgspec.structs.replace(memory.trouble, causes=causes)
            )
        step = ladder.decide(verdict, memory, rules, means, now, paused=paused, jitter=jitter)
        if (step.holding or step.futile) and not memory.gave_up:
            self.journal.note("holding", fault=verdict.fault, detail=step.why.en)
        if step.holding:
            memory = ladder.holding(memory, rules, now, look.clocks.wall, jitter)
        memory = msgspec.structs.replace(memory, futile=step.futile)
        if causes and (step.rung == "restart" or (step.futile and not memory.futile_fingerprint)):
            memory = msgspec.structs.replace(memory, futile_fingerprint=means.fingerprint)
        return step, memory

    def _act(self, step: Step, verdict: Verdict, look: Look, memory: Memory) -> tuple[bool, Memory]:
        """Write down what is about to be done, then do it. Whether it was done, and what is remembered after."""
        assert step.rung is not None  # noqa: S101  its caller has looked
        now = look.clocks
        who = step.worker.identity if step.worker else None
        before = memory
        action = Action(
            at=now.boottime, wall=now.wall, rung=step.rung, fault=verdict.fault, pid=who.pid if who else None
        )
        memory = ladder.acted(memory, self.rules, action, self._jitter.random())
        pending = Pending(
            rung=step.rung, at=now.boottime, until=now.boottime + self.rules.boot_deadline, worker=who
        )
        if step.rung == "terminate_worker":
            kill_at = now.boottime + self.rules.request_deadline
            pending = msgspec.structs.replace(
                pending, kill_at=kill_at, until=kill_at + self.rules.boot_deadline
            )
        elif step.rung == "reload":
            retired = tuple(w.identity for w in verdict.stuck)
            pending = msgspec.structs.replace(pending, worker=None, retired=retired)
        elif step.rung == "continue_master":
            pending = msgspec.structs.replace(pending, until=now.boottime + 2 * LOOK_AGAIN)
        if memory.trouble is not None:
            memory = msgspec.structs.replace(
                memory,
                trouble=msgspec.structs.replace(
                    memory.trouble, actions=(*memory.trouble.actions, step.rung)[-20:]
                ),
            )
        memory = msgspec.structs.replace(memory, pending=pending)
        self._complete_evidence(look, memory)
        if not self.ledger.save(memory) and not self.resident:
            self._say_state_trouble()
            return False, before
        self.journal.note(
            "act",
            rung=step.rung,
            fault=verdict.fault,
            pid=action.pid,
            detail=verdict.detail.en,
            evidence=str(self._evidence.path) if self._evidence else "",
        )
        try:
            self._do(step, verdict, look, memory)
        except GoneError as gone:
            self.journal.note("step", rung=step.rung, outcome="gone", detail=str(gone))
            actions = [*memory.actions[:-1], msgspec.structs.replace(memory.actions[-1], outcome="gone")]
            return False, msgspec.structs.replace(memory, pending=None, actions=actions)
        except (OpsError, OSError) as error:
            self.journal.note("step", rung=step.rung, outcome="failed", detail=safe_line(str(error)))
            actions = [*memory.actions[:-1], msgspec.structs.replace(memory.actions[-1], outcome="failed")]
            return True, msgspec.structs.replace(memory, pending=None, actions=actions)
        return True, memory

    def _do(self, step: Step, verdict: Verdict, look: Look, memory: Memory) -> None:
        who = step.worker.identity if step.worker else None
        master = Identity(look.master.pid, look.master.start_ticks) if look.master else None
        match step.rung:
            case "continue_master" if master is not None:
                continue_process(master)
            case "kill_worker" if who is not None:
                kill_worker(who)
            case "terminate_worker" if who is not None:
                terminate_worker(who)
            case "reload" if master is not None:
                reload_gunicorn(master)
            case "restart":
                self._restart(verdict, look, memory, master)

    def _restart(self, verdict: Verdict, look: Look, memory: Memory, master: Identity | None) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            raise OpsError("nothing here can start the service")
        if master is None and vitals.look_at(self.settings, memory).look.master is not None:
            raise GoneError("a master has come up by itself meanwhile")
        left = {*memory.subject.workers, *(Identity(w.pid, w.start_ticks) for w in look.workers)}
        left |= {Identity(h.pid, h.start_ticks) for h in verdict.holders if h.ours and h.pid != 1}
        backend = look.backend
        started = restart(
            supervisor,
            master=master,
            workers=left,
            reacts=verdict.fault in ("no_workers", "not_answering"),
            is_free=lambda: vitals.is_free(backend),
        )
        if started is not None:
            self._started.append(started)

    def _supervisor(self) -> Supervisor | None:
        return find_supervisor(self.settings, self._beside("start-output.log"))

    # --- evidence -----------------------------------------------------------------------------------------------------

    def _evidence_of(self, verdict: Verdict, look: Look, memory: Memory) -> Evidence:
        """This trouble's directory; one run's `--once` goes on with the one before it."""
        if self._evidence is None:
            root = self._evidence_root()
            known = memory.trouble.evidence if memory.trouble else ""
            name = Path(known).name if known else directory_name(look.clocks.wall, verdict.fault, root)
            self._evidence = Evidence(root, name)
        return self._evidence

    def _prepare_evidence(self, verdict: Verdict, look: Look, memory: Memory) -> None:
        """Have the doctor look while the failure is still being counted, so that no step waits for it."""
        if not (verdict.confirmed or verdict.wants_dumps or memory.failures >= 2):
            return
        evidence = self._evidence_of(verdict, look, memory)
        report = evidence.path / "doctor.json"
        old = not report.exists() or (not evidence.doctor_runs and time.time() - report.stat().st_mtime > 300)
        if old and memory.pending is None:
            evidence.put_look(look)
            evidence.start_doctor(self.settings_path)
        if memory.trouble is not None and not memory.trouble.evidence:
            memory.trouble.evidence = str(evidence.path)

    def _complete_evidence(self, look: Look, memory: Memory) -> None:
        if self._evidence is None:
            return
        pids = [*([look.master.pid] if look.master else []), *(w.pid for w in look.workers)]
        self._evidence.put_look(look)
        self._evidence.put_processes(pids)
        subject = memory.subject
        self._evidence.put_log_tails((subject.error_log, subject.access_log))
        self._evidence.causes()

    def _evidence_root(self) -> Path:
        configured = self.settings.watchdog.evidence_dir
        return Path(configured) if configured else self._beside("evidence")

    def _beside(self, name: str) -> Path:
        return self.state_directory / f"{self.ledger.path.stem}-{name}"

    def _fingerprint(self, memory: Memory) -> str:
        """The newest change among the files that decide whether a start works: a mended cause shows here."""
        newest = 0.0
        app_dir = self.settings.app.dir or memory.subject.cwd
        config = vitals.config_file(self.settings, memory.subject.cwd)
        candidates = [Path(config)] if config else []
        if self.settings_path is not None:
            candidates.append(self.settings_path)
        if self.settings.app.python:
            prefix = Path(self.settings.app.python).parent.parent
            candidates += list(prefix.glob("lib/python3*/site-packages"))
        if app_dir:
            with contextlib.suppress(OSError):
                candidates += [p for p in Path(app_dir).iterdir() if p.suffix == ".py"][:500]
        for path in candidates:
            with contextlib.suppress(OSError):
                newest = max(newest, path.stat().st_mtime)
        return f"{newest:.3f}"

    # --- telling ------------------------------------------------------------------------------------------------------

    def _announce(self, verdict: Verdict, look: Look, memory: Memory, step: Step) -> Memory:
        """One message when trouble begins, one when it ends; a page where it holds."""
        trouble = memory.trouble
        if trouble is None:
            return memory
        now = look.clocks
        if verdict.state in ALIVE and memory.pending is None:
            seconds = now.boottime - trouble.since
            memory = msgspec.structs.replace(memory, trouble=None)
            if trouble.announced or trouble.actions:
                memory.last_recovery_seconds = round(seconds, 3)
                self.journal.note(
                    "recovered", fault=trouble.fault, seconds=round(seconds, 2), actions=trouble.actions
                )
                name = fault_name(trouble.fault)
                body = recovery_body(trouble.fault, seconds, trouble.actions, trouble.evidence)
                title = Text(en=f"recovered: {name.en}", zh=f"已恢复：{name.zh}")
                self.teller.tell("watchdog", "recovered", title, body, now.wall)
            self._evidence = None
            return memory
        due = verdict.confirmed or verdict.fault == "overload"
        if verdict.state in ("failing", "foreign"):
            due = due or memory.failures >= self.rules.failures
        if trouble.announced or not due:
            return memory
        doing = RUNGS[step.rung] if step.rung else (step.why if step.why.en else None)
        evidence = str(self._evidence.path) if self._evidence else ""
        body = trouble_body(verdict.detail, trouble.causes, evidence, doing, trouble.wall)
        name = fault_name(verdict.fault)
        kind: Literal["page", "trouble"] = "page" if step.rung is None else "trouble"
        self.teller.tell("watchdog", kind, name, body, now.wall)
        return msgspec.structs.replace(
            memory,
            trouble=msgspec.structs.replace(
                trouble,
                fault=verdict.fault,
                detail_en=verdict.detail.en,
                detail_zh=verdict.detail.zh,
                announced=True,
                evidence=evidence,
            ),
        )

    def _announce_saturation(self, verdict: Verdict, look: Look, memory: Memory) -> Memory:
        """One message when it has been saturated for as many rounds as a failure needs, one when that is over."""
        now = look.clocks
        if memory.saturation_told and verdict.state == "healthy":
            title = Text(en="no longer saturated", zh="不再饱和")
            self.teller.tell("saturated", "recovered", title, verdict.detail, now.wall)
            return msgspec.structs.replace(memory, saturation_told=False)
        lasted = now.boottime - memory.state_since
        if (
            verdict.state == "saturated"
            and not memory.saturation_told
            and lasted >= self.rules.failures * self.rules.interval
        ):
            self.journal.note("saturated", seconds=round(lasted, 1), detail=verdict.detail.en)
            self.teller.tell("saturated", "trouble", fault_name("saturated"), verdict.detail, now.wall)
            return msgspec.structs.replace(memory, saturation_told=True)
        return memory

    def _tell_of_torn_state(self) -> None:
        self.teller.tell(
            "watchdog-state",
            "page",
            Text(en="the watchdog's state file was torn", zh="守护程序的状态文件损坏"),
            Text(
                en=f"it was set aside as {self.ledger.set_aside}; budgets begin anew",
                zh=f"已移存为 {self.ledger.set_aside}；动作额度重新计算",
            ),
            time.time(),
        )

    # --- remembering --------------------------------------------------------------------------------------------------

    def _remember(self, memory: Memory, *, paused: bool) -> None:
        self.memory = memory
        if not self.ledger.save(memory):
            self._say_state_trouble()
        else:
            self._state_trouble = False
        try:
            metrics.write(self._metrics_path(), memory, paused=paused)
        except OSError as error:
            if not self._metrics_trouble:
                self.journal.note("metrics_unwritable", detail=safe_line(str(error)))
            self._metrics_trouble = True
        else:
            self._metrics_trouble = False

    def _metrics_path(self) -> Path:
        configured = self.settings.watchdog.metrics_file
        return Path(configured) if configured else self.ledger.path.with_suffix(".prom")

    def _say_state_trouble(self) -> None:
        if not self._state_trouble:
            self.journal.note("state_unwritable", detail=self.ledger.trouble)
        self._state_trouble = True

    def check_state(self) -> None:
        """Find out before the first round whether the state can be written: without it, nothing is done from cron."""
        if not self.ledger.save(self.memory):
            self._say_state_trouble()

    def _reap(self) -> None:
        self._started = [process for process in self._started if process.poll() is None]

    # --- when to look again -------------------------------------------------------------------------------------------

    def _again_after(self, verdict: Verdict, look: Look, acted: bool) -> float | None:
        if acted or self.memory.pending is not None:
            return LOOK_AGAIN
        if verdict.state == "unjudged":
            return None
        if verdict.wants_dumps:
            return self.rules.dump_gap
        return self._until_a_deadline(look) if self.resident else None

    def _until_a_deadline(self, look: Look) -> float | None:
        """Seconds until a request in flight passes its deadline: the resident watchdog looks just then."""
        deadline = self.rules.request_deadline
        left = [
            deadline - age
            for w in look.workers
            if w.record is not None
            for age in in_flight_ages(w.record, look.clocks.wall, self.memory.distrust_before)
            if age < deadline
        ]
        return max(LOOK_AGAIN, min(left) + 0.1) if left else None


def _came_to_nothing(pending: Pending, look: Look, *, gone: bool) -> bool:
    """Whether a step shows no effect long after it must have: also where the watchdog was killed between writing it
    down and doing it."""
    age = look.clocks.boottime - pending.at
    if pending.rung == "kill_worker":
        return not gone and age > KILL_SHOWS_WITHIN
    return pending.rung == "restart" and look.master is None and age > START_SHOWS_WITHIN


def _has_new_worker(look: Look, pending: Pending) -> bool:
    retired = {who.pid for who in pending.retired}
    return any(
        w.pid not in retired
        and w.started > pending.at - 1.0
        and (w.record is None or w.record.phase == "ready")
        for w in look.workers
    )


def _is_whole(look: Look) -> bool:
    """Whether a worker is there and none is still booting."""
    return bool(look.workers) and not _is_booting(look)


def _is_booting(look: Look) -> bool:
    return any(
        w.record is not None and w.record.phase == "booting" and not w.record.completed for w in look.workers
    )


# --- the two ways to run ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnceResult:
    """What a run of `--once` came to."""

    exit_code: int
    outcome: Outcome
    acted: bool


def run_once(watchdog: Watchdog) -> OnceResult:
    """One round, and as many looks after it as proving or verifying takes. Call it with the lock held."""
    watchdog.check_state()
    outcome = watchdog.round()
    acted = outcome.acted
    stop_at = time.monotonic() + min(PATIENCE_ONCE, watchdog.rules.boot_deadline + 10.0)
    looks = 0
    while outcome.again_after is not None and time.monotonic() < stop_at:
        if not acted and watchdog.memory.pending is None:
            looks += 1
            if looks > CLOSER_LOOKS:
                break
        time.sleep(outcome.again_after)
        outcome = watchdog.round(counts=False)
        acted = acted or outcome.acted
    watchdog.teller.deliver_beside()
    watchdog.teller.finish(10.0)
    if acted and outcome.exit_code == 0:
        return OnceResult(ACTED, outcome, acted)
    return OnceResult(outcome.exit_code, outcome, acted)


def run_service(watchdog: Watchdog, notify: NotifySocket) -> None:
    """Round after round until SIGTERM or SIGINT; SIGHUP reads the configuration again. Call it with the lock held."""
    ended, hup = threading.Event(), threading.Event()
    wake = threading.Event()

    def on_end(_number: int, _frame: object) -> None:
        ended.set()
        wake.set()

    def on_hup(_number: int, _frame: object) -> None:
        hup.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_end)
    signal.signal(signal.SIGHUP, on_hup)
    watchdog.check_state()
    watchdog.journal.note("started", interval=watchdog.rules.interval)
    first, gap, next_due = True, None, time.monotonic()
    while not ended.is_set():
        wake.clear()
        if hup.is_set():
            hup.clear()
            notify.reloading()
            watchdog = _reread(watchdog)
            notify.ready()
        counts = time.monotonic() >= next_due - 0.001
        if counts:
            next_due = time.monotonic() + watchdog.rules.interval
        wait = next_due - time.monotonic()
        try:
            outcome = watchdog.round(counts=counts, expected_gap=gap)
        except Exception as error:  # noqa: BLE001  a defect, or a host out of order: the next round may go well
            watchdog.journal.note("round_failed", detail=safe_line(f"{type(error).__name__}: {error}"))
        else:
            if first:
                notify.ready()
                first = False
            notify.status(status_line(watchdog, outcome))
            # Only here: a round that failed, or hangs, is no sign of life.
            notify.alive()
            wait = next_due - time.monotonic()
            if outcome.again_after is not None:
                wait = min(wait, outcome.again_after)
        if notify.watchdog_seconds is not None:
            wait = min(wait, notify.watchdog_seconds / 2)
        gap = max(wait, LOOK_AGAIN)
        wake.wait(max(0.05, wait))
    notify.stopping()
    watchdog.journal.note("stopped")
    watchdog.teller.finish(2.0)


def _reread(watchdog: Watchdog) -> Watchdog:
    """The watchdog with its configuration read again; the old one where the new cannot be used."""
    try:
        settings = load_settings(watchdog.settings_path)
        if settings.watchdog.state_file != watchdog.settings.watchdog.state_file:
            raise OpsError("watchdog.state_file changed: restart the watchdog for that")
    except OpsError as error:
        watchdog.journal.note("configuration_kept", detail=safe_line(str(error)))
        return watchdog
    fresh = Watchdog(settings, watchdog.settings_path, watchdog.language, watchdog.journal, resident=True)
    fresh.memory = watchdog.memory
    watchdog.journal.note("configuration_read")
    return fresh


def status_line(watchdog: Watchdog, outcome: Outcome) -> str:
    """One line for systemctl status and a person at the terminal."""
    words = [STATES[outcome.verdict.state].to(watchdog.language)]
    if outcome.verdict.state != "healthy":
        words.append(outcome.verdict.detail.to(watchdog.language))
    if outcome.paused:
        words.append(Text(en="paused", zh="已暂停守护").to(watchdog.language))
    if outcome.step.rung is not None:
        words.append(RUNGS[outcome.step.rung].to(watchdog.language))
    elif outcome.step.why.en:
        words.append(outcome.step.why.to(watchdog.language))
    return "; ".join(words)


def locked(settings: Settings) -> Lock:
    """The lock of this configuration's watchdog. Raises LockedError when entered while another holds it."""
    return Lock(Path(settings.watchdog.state_file))


def clean_up(settings: Settings) -> None:
    """Remove what a killed watchdog left half written. Call it with the lock held."""
    remove_left_over(Path(settings.watchdog.state_file))
