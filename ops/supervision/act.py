"""Deciding on an action with what this host is capable of, carrying it out, and following it up to its effect."""

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
from ops.control.restart import (
    Supervisor,
    find_supervisor,
    plan_start,
    refusal,
    restart,
    stopped_by_hand,
)
from ops.control.signals import GoneError, is_alive, kill
from ops.control.worker import continue_process, kill_worker, terminate_worker
from ops.errors import OpsError
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.supervision import escalation, observe
from ops.supervision.action_record import with_begun_action, with_outcome
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.escalation import Capabilities, Step
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.evidence_store import ReportedCause
from ops.supervision.follow_up import has_new_worker, outcome_of
from ops.supervision.health.assessment import Assessment
from ops.supervision.observation import Observation
from ops.supervision.rules import Rules
from ops.supervision.state import ActionKind, ActionOutcome, Fault, WatchdogState
from ops.supervision.state_store import StateStore
from ops.text.language import Text
from ops.text.sanitize import safe_line

# While the state cannot be written, the budget is what this process remembers, and at most this.
BUDGET_WITHOUT_STATE = 1
# The faults for which the doctor may know a cause that no restart fixes.
_WITH_A_CAUSE = (Fault.MASTER_GONE, Fault.NO_WORKERS, Fault.NOT_ANSWERING)


class Actor:
    """Acts on the service.

    ``output``: the file for a start command's output. ``resident``: whether this process lives on, and so remembers
    what it did even if the state cannot be written."""

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        state_store: StateStore,
        evidence: EvidenceCapture,
        journal: WatchdogJournal,
        output: Path,
        *,
        resident: bool,
    ) -> None:
        self.settings, self.rules, self.state_store = settings, rules, state_store
        self.evidence, self.journal, self.resident = evidence, journal, resident
        self._output = output
        self._started: list[subprocess.Popen[bytes]] = []
        # The start command of the pending restart has ended with an error.
        self._start_ended = False
        # Until when a run from cron waits for a start, time.monotonic; None for the service, which has time.
        self.deadline: float | None = None
        self._jitter = random.Random()  # noqa: S311  spreads waits, keeps no secret

    def reap(self) -> None:
        """Reap finished start commands."""
        ended = [process for process in self._started if process.poll() is not None]
        self._start_ended = self._start_ended or any(process.returncode != 0 for process in ended)
        self._started = [process for process in self._started if process not in ended]

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(
        self, assessment: Assessment, observation: Observation, state: WatchdogState, *, paused: bool
    ) -> tuple[Step, WatchdogState]:
        """The next step, and ``state`` with what that decision rests on."""
        if not assessment.confirmed:
            return Step(None), state
        now, jitter, rules = observation.clocks.boottime, self._jitter.random(), self.rules
        if self.state_store.trouble is not None:
            rules = replace(rules, budget=min(rules.budget, BUDGET_WITHOUT_STATE) if self.resident else 0)
        capabilities = self._capabilities(assessment, observation, state, rules)
        causes = capabilities.causes
        if state.trouble is not None and causes:
            state = msgspec.structs.replace(
                state, trouble=msgspec.structs.replace(state.trouble, causes=causes)
            )
        step = escalation.decide(assessment, state, rules, capabilities, now, paused=paused, jitter=jitter)
        if (step.circuit_open or step.unfixable) and not state.suspended:
            self.journal.note("holding", fault=assessment.fault, causes=causes, detail=step.why.en)
        if step.circuit_open:
            state = escalation.open_circuit(state, rules, now, observation.clocks.wall, jitter)
        fingerprint = state.unfixable_fingerprint
        if causes and (step.action == ActionKind.RESTART or (step.unfixable and not fingerprint)):
            fingerprint = capabilities.fingerprint
        return step, msgspec.structs.replace(
            state, unfixable=step.unfixable, unfixable_fingerprint=fingerprint
        )

    def _capabilities(
        self, assessment: Assessment, observation: Observation, state: WatchdogState, rules: Rules
    ) -> Capabilities:
        """What could be done here, asked only as far as this assessment needs it."""
        causes: tuple[ReportedCause, ...] = ()
        if assessment.fault in _WITH_A_CAUSE and state.pending is None:
            now = observation.clocks.boottime
            patient = waits_for_the_doctor(assessment.fault, state, rules, now, resident=self.resident)
            causes = self.evidence.causes(patient=patient)
        supervisor = self._supervisor()
        may_restart = assessment.fault in escalation.RESTART_FAULTS
        config = observe.config_file(self.settings, state.subject.cwd)
        workers = tuple(w.pid for w in observation.workers)
        return Capabilities(
            restart=supervisor is not None,
            reload=len(assessment.stuck) > 1 and can_reload(config, workers),
            causes=tuple(cause.code for cause in causes),
            unfixable=tuple(c.code for c in causes if escalation.fails_again(c.code, c.kind)),
            fingerprint=self.evidence.fingerprint(state) if causes else "",
            refusal=refusal(supervisor) if supervisor is not None and may_restart else None,
            stopped=supervisor is not None
            and assessment.fault == Fault.MASTER_GONE
            and not rules.starts_stopped
            and stopped_by_hand(supervisor),
        )

    # --- acting -------------------------------------------------------------------------------------------------------

    def act(
        self, step: Step, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> tuple[bool, WatchdogState]:
        """Record the action of ``step``, then carry it out: whether that was done, and the state after it."""
        now = observation.clocks
        before = state
        state = with_begun_action(step, assessment, state, self.rules, now, self._jitter.random())
        patient = waits_for_the_doctor(
            assessment.fault, before, self.rules, now.boottime, resident=self.resident
        )
        self.evidence.complete(observation, state, patient=patient)
        # Separate runs from cron would each begin with a full budget, and restart the service in a loop.
        if not self.state_store.save(state) and not self.resident:
            return False, before
        self.journal.note(
            "act",
            rung=step.action,
            fault=assessment.fault,
            causes=state.trouble.causes if state.trouble is not None else (),
            pid=state.actions[-1].pid,
            detail=assessment.detail.en,
            evidence=self.evidence.path,
        )
        try:
            self._carry_out(step, assessment, observation, state)
        except (GoneError, InUseError) as gone:
            return False, self._ended(step, state, ActionOutcome.GONE, str(gone))
        except (OpsError, OSError) as error:
            return True, self._ended(step, state, ActionOutcome.FAILED, safe_line(str(error)))
        return True, state

    def _ended(self, step: Step, state: WatchdogState, outcome: ActionOutcome, detail: str) -> WatchdogState:
        self.journal.note("step", rung=step.action, outcome=outcome, detail=detail)
        return with_outcome(state, outcome)

    def _carry_out(
        self, step: Step, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> None:
        worker = step.worker.process if step.worker else None
        master = (
            ProcessRef(observation.master.pid, observation.master.start_ticks) if observation.master else None
        )
        match step.action:
            case ActionKind.CONTINUE_MASTER if master is not None:
                continue_process(master)
            case ActionKind.KILL_WORKER if worker is not None:
                kill_worker(worker)
            case ActionKind.TERMINATE_WORKER if worker is not None:
                terminate_worker(worker)
            case ActionKind.RELOAD if master is not None:
                reload_gunicorn(master)
            case ActionKind.RESTART:
                self._restart(assessment, observation, state, master)

    def _restart(
        self,
        assessment: Assessment,
        observation: Observation,
        state: WatchdogState,
        master: ProcessRef | None,
    ) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            raise OpsError(Text(en="nothing here can start the service", zh="没有可用的方式启动服务"))
        if master is None and observe.observe(self.settings, state).observation.master is not None:
            raise GoneError(Text(en="a master has come up by itself meanwhile", zh="期间已有主进程自行启动"))
        processes = {*state.subject.workers, *(ProcessRef(w.pid, w.start_ticks) for w in observation.workers)}
        processes |= {ProcessRef(h.pid, h.start_ticks) for h in assessment.holders if h.ours and h.pid != 1}
        backend = observation.backend
        self.journal.note("start", **how_it_starts(supervisor))
        self._start_ended = False
        process = restart(
            supervisor,
            self.settings,
            master=master,
            workers=processes,
            reacts=assessment.fault in (Fault.NO_WORKERS, Fault.NOT_ANSWERING),
            is_free=lambda: observe.is_free(backend),
            tell=self._note_stale,
        )
        if process is not None:
            self._started.append(process)

    def _note_stale(self, stale: Stale) -> None:
        outcome = f"not removed: {stale.failure}" if stale.failure else "removed"
        self.journal.note("stale_pidfile", detail=safe_line(f"{stale.path}: {stale.detail}; {outcome}"))

    def _supervisor(self) -> Supervisor | None:
        supervisor = find_supervisor(self.settings, self._output)
        if supervisor is None or self.deadline is None:
            return supervisor
        return replace(supervisor, until=self.deadline)

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def follow_up(
        self, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> WatchdogState:
        """Finish what the last action began, and record what became of it."""
        pending = state.pending
        if pending is None:
            return state
        now = observation.clocks.boottime
        with contextlib.suppress(OpsError):
            if pending.worker is not None and pending.kill_at is not None and now >= pending.kill_at:
                kill_worker(pending.worker)
            if pending.retired and has_new_worker(observation, pending):
                kill(pending.retired)
                pending = msgspec.structs.replace(pending, retired=())
        gone = pending.worker is None or not is_alive(pending.worker)
        outcome = outcome_of(pending, assessment, observation, gone=gone, ended=self._start_ended)
        if outcome is None:
            return msgspec.structs.replace(state, pending=pending)
        self.journal.note("step", rung=pending.kind, outcome=outcome, seconds=round(now - pending.at, 2))
        return with_outcome(state, outcome)


def how_it_starts(supervisor: Supervisor) -> dict[str, Any]:
    """A start as the journal notes it: by what, as which user, with which environment; no variable's value."""
    if supervisor.unit is not None:
        return {"unit": supervisor.unit}
    plan = plan_start(supervisor)
    if plan.launch is not None:
        return {"user": plan.launch.account.uid, "environment": "remembered"}
    why = "none is remembered" if supervisor.launch is None else "the start command changes the user itself"
    return {"user": os.geteuid(), "environment": f"the watchdog's own: {why}"}


def waits_for_the_doctor(
    fault: Fault, state: WatchdogState, rules: Rules, now: float, *, resident: bool
) -> bool:
    """Whether an action waits for the doctor's report.

    It does not if memory runs out: there is no time. Nor does the resident watchdog's first start of a master that is
    gone: nothing is left to inspect before it, and only a start that has failed already can be unfixable."""
    if fault == Fault.WORKER_LEAKING:
        return False
    if not resident or fault != Fault.MASTER_GONE:
        return True
    return any(a.kind == ActionKind.RESTART and now - a.at <= rules.within for a in state.actions)
