"""Doing what the ladder chose: with which means, written down first, and looked after until its effect is proven."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ops.control.pidfile import InUseError, Stale
from ops.control.reload import can_reload, reload_gunicorn
from ops.control.restart import Supervisor, find_supervisor, plan_start, refusal, restart
from ops.control.signals import GoneError, is_alive, kill
from ops.control.worker import continue_process, kill_worker, terminate_worker
from ops.errors import OpsError
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.supervision import escalation, observe
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.escalation import Capabilities, Step
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.health import ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import LOOK_AGAIN, MEMORY_GRACE, Rules
from ops.supervision.state import Action, Pending, WatchdogState
from ops.supervision.state_store import StateStore
from ops.text.sanitize import safe_line

# SIGKILL works at once; taking down, waiting for the port and starting take up to 20 s until a master is seen.
KILL_SHOWS_WITHIN = 5.0
START_SHOWS_WITHIN = 30.0
# With a state that cannot be written, the budget is what this process remembers, and no more than this.
BUDGET_WITHOUT_STATE = 1


class Actor:
    """Acts on the service. ``output``: where a start command's output goes; ``resident``: whether this process lives
    on to remember what it did."""

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        ledger: StateStore,
        proof: EvidenceCapture,
        journal: WatchdogJournal,
        output: Path,
        *,
        resident: bool,
    ) -> None:
        self.settings, self.rules, self.ledger = settings, rules, ledger
        self.proof, self.journal, self.resident = proof, journal, resident
        self._output = output
        self._started: list[subprocess.Popen[bytes]] = []
        self._jitter = random.Random()  # noqa: S311  spreads waits, keeps no secret

    def reap(self) -> None:
        """Take leave of start commands that have ended."""
        self._started = [process for process in self._started if process.poll() is None]

    # --- deciding and acting ------------------------------------------------------------------------------------------

    def decide(
        self, verdict: Assessment, look: Observation, memory: WatchdogState, *, paused: bool
    ) -> tuple[Step, WatchdogState]:
        """The next step, by what this host has the means for, and the memory of what that decision rests on."""
        if not verdict.confirmed:
            return Step(None), memory
        now = look.clocks.boottime
        jitter = self._jitter.random()
        rules = self.rules
        if self.ledger.trouble is not None:
            rules = replace(rules, budget=min(rules.budget, BUDGET_WITHOUT_STATE) if self.resident else 0)
        needs_cause = (
            verdict.fault in ("master_gone", "no_workers", "not_answering") and memory.pending is None
        )
        patient = waits_for_the_doctor(verdict.fault, memory, rules, now, resident=self.resident)
        causes = self.proof.causes(patient=patient) if needs_cause else ()
        supervisor = self._supervisor()
        may_restart = supervisor is not None and verdict.fault in escalation.RESTART_FAULTS
        means = Capabilities(
            restart=supervisor is not None,
            reload=can_reload(
                observe.config_file(self.settings, memory.subject.cwd), tuple(w.pid for w in look.workers)
            )
            if len(verdict.stuck) > 1
            else False,
            causes=causes,
            fingerprint=self.proof.fingerprint(memory) if causes else "",
            refusal=refusal(supervisor) if supervisor is not None and may_restart else None,
        )
        if memory.trouble is not None and causes:
            memory = msgspec.structs.replace(
                memory, trouble=msgspec.structs.replace(memory.trouble, causes=causes)
            )
        step = escalation.decide(verdict, memory, rules, means, now, paused=paused, jitter=jitter)
        if (step.holding or step.futile) and not memory.gave_up:
            self.journal.note("holding", fault=verdict.fault, detail=step.why.en)
        if step.holding:
            memory = escalation.holding(memory, rules, now, look.clocks.wall, jitter)
        memory = msgspec.structs.replace(memory, futile=step.futile)
        if causes and (step.rung == "restart" or (step.futile and not memory.futile_fingerprint)):
            memory = msgspec.structs.replace(memory, futile_fingerprint=means.fingerprint)
        return step, memory

    def act(
        self, step: Step, verdict: Assessment, look: Observation, memory: WatchdogState
    ) -> tuple[bool, WatchdogState]:
        """Write down what is about to be done, then do it. Whether it was done, and what is remembered after."""
        assert step.rung is not None  # noqa: S101  its caller has looked
        now = look.clocks
        who = step.worker.identity if step.worker else None
        before = memory
        action = Action(
            at=now.boottime, wall=now.wall, rung=step.rung, fault=verdict.fault, pid=who.pid if who else None
        )
        memory = escalation.acted(memory, self.rules, action, self._jitter.random())
        pending = Pending(
            rung=step.rung, at=now.boottime, until=now.boottime + self.rules.boot_deadline, worker=who
        )
        if step.rung == "terminate_worker":
            patience = self.rules.request_deadline
            if verdict.fault == "worker_memory":
                patience = min(patience, MEMORY_GRACE)
            kill_at = now.boottime + patience
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
        if step.rung == "restart":
            memory = msgspec.structs.replace(memory, restarting_since=now.boottime)
        patient = waits_for_the_doctor(
            verdict.fault, before, self.rules, now.boottime, resident=self.resident
        )
        self.proof.complete(look, memory, patient=patient)
        if not self.ledger.save(memory) and not self.resident:
            return False, before
        self.journal.note(
            "act",
            rung=step.rung,
            fault=verdict.fault,
            pid=action.pid,
            detail=verdict.detail.en,
            evidence=self.proof.path,
        )
        try:
            self._do(step, verdict, look, memory)
        except (GoneError, InUseError) as gone:
            self.journal.note("step", rung=step.rung, outcome="gone", detail=str(gone))
            actions = [*memory.actions[:-1], msgspec.structs.replace(memory.actions[-1], outcome="gone")]
            return False, msgspec.structs.replace(
                memory, pending=None, actions=actions, restarting_since=None
            )
        except (OpsError, OSError) as error:
            self.journal.note("step", rung=step.rung, outcome="failed", detail=safe_line(str(error)))
            actions = [*memory.actions[:-1], msgspec.structs.replace(memory.actions[-1], outcome="failed")]
            return True, msgspec.structs.replace(memory, pending=None, actions=actions, restarting_since=None)
        return True, memory

    def _do(self, step: Step, verdict: Assessment, look: Observation, memory: WatchdogState) -> None:
        who = step.worker.identity if step.worker else None
        master = ProcessRef(look.master.pid, look.master.start_ticks) if look.master else None
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

    def _restart(
        self, verdict: Assessment, look: Observation, memory: WatchdogState, master: ProcessRef | None
    ) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            raise OpsError("nothing here can start the service")
        if master is None and observe.observe(self.settings, memory).look.master is not None:
            raise GoneError("a master has come up by itself meanwhile")
        left = {*memory.subject.workers, *(ProcessRef(w.pid, w.start_ticks) for w in look.workers)}
        left |= {ProcessRef(h.pid, h.start_ticks) for h in verdict.holders if h.ours and h.pid != 1}
        backend = look.backend
        self.journal.note("start", **how_it_starts(supervisor))
        started = restart(
            supervisor,
            self.settings,
            master=master,
            workers=left,
            reacts=verdict.fault in ("no_workers", "not_answering"),
            is_free=lambda: observe.is_free(backend),
            tell=self._tell_stale,
        )
        if started is not None:
            self._started.append(started)

    def _tell_stale(self, stale: Stale) -> None:
        outcome = f"not removed: {stale.kept}" if stale.kept else "removed"
        self.journal.note("stale_pidfile", detail=safe_line(f"{stale.path}: {stale.detail}; {outcome}"))

    def _supervisor(self) -> Supervisor | None:
        return find_supervisor(self.settings, self._output)

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def follow_up(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> WatchdogState:
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
        elif verdict.fault == "environment_changed" and _is_whole(look):
            outcome = "failed"
        elif (
            gone
            and pending.worker is not None
            and _others_stuck(verdict, pending)
            and not _boots_in_time(verdict)
        ):
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
        return msgspec.structs.replace(memory, pending=None, actions=actions, restarting_since=None)


def how_it_starts(supervisor: Supervisor) -> dict[str, Any]:
    """What the journal says of a start: by what, as whom, and whose environment; no value of a variable."""
    if supervisor.unit is not None:
        return {"unit": supervisor.unit}
    plan = plan_start(supervisor)
    if plan.launch is not None:
        return {"user": plan.launch.account.uid, "environment": "remembered"}
    known = "none is remembered" if supervisor.launch is None else "the start command changes the user itself"
    return {"user": os.geteuid(), "environment": f"the watchdog's own: {known}"}


def waits_for_the_doctor(
    fault: str, memory: WatchdogState, rules: Rules, now: float, *, resident: bool
) -> bool:
    """Whether a step waits for the doctor's report. Not where memory runs out: the seconds it takes are not there. Nor
    does the resident's first start of a master that is gone: nothing is left to be looked at before it, and only a
    start that failed already could be futile."""
    if fault == "worker_memory":
        return False
    if not resident or fault != "master_gone":
        return True
    return any(a.rung == "restart" and now - a.at <= rules.within for a in memory.actions)


def _came_to_nothing(pending: Pending, look: Observation, *, gone: bool) -> bool:
    """Whether a step shows no effect long after it must have: also where the watchdog was killed between writing it
    down and doing it."""
    age = look.clocks.boottime - pending.at
    if pending.rung == "kill_worker":
        return not gone and age > KILL_SHOWS_WITHIN
    return pending.rung == "restart" and look.master is None and age > START_SHOWS_WITHIN


def _others_stuck(verdict: Assessment, pending: Pending) -> bool:
    """Whether a worker is stuck that is not the one just dealt with: that one may have ended since the look."""
    return any(worker.identity != pending.worker for worker in verdict.stuck)


def _has_new_worker(look: Observation, pending: Pending) -> bool:
    retired = {who.pid for who in pending.retired}
    return any(
        w.pid not in retired
        and w.started > pending.at - 1.0
        and (w.record is None or w.record.phase == "ready")
        for w in look.workers
    )


def _is_whole(look: Observation) -> bool:
    """Whether a worker is there and none is still booting."""
    return bool(look.workers) and not _is_booting(look)


def _boots_in_time(verdict: Assessment) -> bool:
    """Whether a worker boots that may still come up; not one that hangs at it."""
    return any(worker.kind == "booting" for worker in verdict.workers)


def _is_booting(look: Observation) -> bool:
    return any(
        w.record is not None and w.record.phase == "booting" and not w.record.completed for w in look.workers
    )
