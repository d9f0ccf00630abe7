"""One cycle: observe, assess, decide, act, record (`Watchdog.run_cycle`).

A cycle is short, and all it needs to know of earlier ones is on disk: `--once` from cron and the resident service run
the same cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.control.launch import launch_path
from ops.facts.probes import Exchange
from ops.interpret.progress import FRESH_BEAT, until_stuck
from ops.settings import Settings
from ops.supervision import metrics, observe
from ops.supervision.act import Actor
from ops.supervision.alert_policy import AlertPolicy
from ops.supervision.alerts import Notifier, WatchdogJournal
from ops.supervision.baseline_keeper import BaselineKeeper, accept_command
from ops.supervision.escalation import Step, rearmed
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.health.assessment import ALIVE, Assessment, WorkerCondition
from ops.supervision.launches import Launches
from ops.supervision.observation import Observation
from ops.supervision.rules import LOOK_AGAIN, Rules, rules_from
from ops.supervision.state import ServiceState, WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.supervision.state_update import own_trouble, with_observation, without_dumps
from ops.supervision.transitions import record_transition
from ops.text.language import Language
from ops.text.sanitize import safe_line

FAILING, UNDETERMINED = 2, 3


@dataclass(frozen=True)
class CycleOutcome:
    """The result of one cycle. ``again_after``: seconds until the next one, if it must not wait for the interval."""

    assessment: Assessment
    step: Step
    paused: bool
    acted: bool
    again_after: float | None

    @property
    def exit_code(self) -> int:
        """The exit code of `--once` for a run that ended with this cycle and took no action."""
        if self.assessment.state == ServiceState.UNDETERMINED:
            return UNDETERMINED
        if self.assessment.state in ALIVE:
            return 0
        return FAILING


class Watchdog:
    """The watchdog of one service. Use it while holding the lock of its state file."""

    def __init__(
        self,
        settings: Settings,
        settings_path: Path | None,
        language: Language,
        journal: WatchdogJournal,
        *,
        resident: bool,
    ) -> None:
        self.settings, self.settings_path = settings, settings_path
        self.rules: Rules = rules_from(settings)
        self.state_store = StateStore(Path(settings.watchdog.state_file))
        self.journal = journal
        self.language = language
        self.resident = resident
        self.notifier = Notifier(self._beside("outbox"), settings.notify, language, journal)
        self.alert_policy = AlertPolicy(self.notifier, journal, self.rules)
        self.evidence = EvidenceCapture(settings, settings_path, self.rules)
        output = self._beside("start-output.log")
        self.actor = Actor(
            settings, self.rules, self.state_store, self.evidence, journal, output, resident=resident
        )
        self.state = self.state_store.load(clocks())
        self.launches = Launches(launch_path(settings), journal)
        self.baseline = BaselineKeeper(settings, accept_command(settings_path), resident=resident)
        self._metrics_trouble = False
        self._state_trouble = False
        if self.state_store.set_aside is not None:
            self.journal.note("state_torn", detail=f"set aside as {self.state_store.set_aside}")
            self.alert_policy.torn_state(self.state_store.set_aside)

    def _beside(self, name: str) -> Path:
        return self.state_store.path.with_name(f"{self.state_store.path.stem}-{name}")

    # --- the cycle ----------------------------------------------------------------------------------------------------

    def run_cycle(self, *, counts: bool = True, expected_gap: float | None = None) -> CycleOutcome:
        """Observe, assess, decide, act, record.

        ``counts``: whether a failure adds to the count of failures; in the extra cycles that follow an action it does
        not. ``expected_gap``: seconds since the last cycle as planned, None if none was planned."""
        observation, state = self._observe(counts=counts, expected_gap=expected_gap)
        assessment, state = self._assess(observation, state)
        paused = self.state_store.paused(observation.clocks.wall) is not None
        step, state = self._decide(assessment, observation, state, paused=paused)
        acted, state = self._act(step, assessment, observation, state)
        self._record(state, paused=paused)
        self.baseline.after_cycle(state, observation.clocks, paused=paused)
        again_after = self._again_after(assessment, observation, acted=acted)
        return CycleOutcome(assessment, step, paused, acted, again_after)

    def _observe(self, *, counts: bool, expected_gap: float | None) -> tuple[Observation, WatchdogState]:
        """What is there now, and the state with it."""
        self.actor.reap()
        if self.state_store.take_rearm():
            self.journal.note("rearmed", actions=len(self.state.actions))
            self.state = rearmed(self.state)
        observed = observe.observe(self.settings, self.state)
        observation = msgspec.structs.replace(
            observed.observation,
            own_trouble=own_trouble(observed.observation, self.state, expected_gap=expected_gap),
        )
        state = msgspec.structs.replace(self.state, subject=observed.subject)
        state = with_observation(observation, state, self.rules)
        state = self.launches.compare(observation, state)
        # As if it failed: a cycle that does not resets the count (transitions.py).
        return observation, msgspec.structs.replace(state, failures=state.failures + int(counts))

    def _assess(self, observation: Observation, state: WatchdogState) -> tuple[Assessment, WatchdogState]:
        """What it means, whether the last action has had its effect, and what has changed since the last cycle."""
        assessment, state = self.evidence.assess(observation, state)
        suspects = (*assessment.wants_dumps, *(worker.process for worker in assessment.stuck))
        state = without_dumps(state, suspects)
        state = self.actor.follow_up(assessment, observation, state)
        self.launches.remember(assessment, observation, state)
        state = record_transition(
            assessment, observation, state, self.rules, self.journal, evidence=self.evidence.path
        )
        return assessment, state

    def _decide(
        self, assessment: Assessment, observation: Observation, state: WatchdogState, *, paused: bool
    ) -> tuple[Step, WatchdogState]:
        """Which action to take, and whom to alert. The alert comes first: it says what is about to be done."""
        step = Step(None)
        if assessment.state in (ServiceState.FAILING, ServiceState.SUSPECT):
            state = self.evidence.prepare(assessment, observation, state)
            step, state = self.actor.decide(assessment, observation, state, paused=paused)
        was_in_trouble = state.trouble is not None
        state = self.alert_policy.trouble(assessment, observation, state, step, self.evidence.path)
        if was_in_trouble and state.trouble is None:
            self.evidence.forget()
        return step, self.alert_policy.saturation(assessment, observation, state)

    def _act(
        self, step: Step, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> tuple[bool, WatchdogState]:
        """Carry out the step: whether an action was taken, and the state after it."""
        if step.action is None:
            return False, state
        return self.actor.act(step, assessment, observation, state)

    def _record(self, state: WatchdogState, *, paused: bool) -> None:
        """Save the state, write the metrics, and deliver the alerts."""
        self.state = state
        self._save()
        try:
            metrics.write(self._metrics_path(), state, paused=paused)
        except OSError as error:
            if not self._metrics_trouble:
                self.journal.note("metrics_unwritable", detail=safe_line(str(error)))
            self._metrics_trouble = True
        else:
            self._metrics_trouble = False
        self.notifier.deliver_beside()

    def _metrics_path(self) -> Path:
        configured = self.settings.watchdog.metrics_file
        return Path(configured) if configured else self.state_store.path.with_suffix(".prom")

    def _save(self) -> None:
        """Save the state; the first failure in a row is noted in the journal."""
        saved = self.state_store.save(self.state)
        if not saved and not self._state_trouble:
            self.journal.note("state_unwritable", detail=self.state_store.trouble)
        self._state_trouble = not saved

    def check_state(self) -> None:
        """Find out before the first cycle whether the state can be written: if not, runs from cron take no action."""
        self._save()

    # --- when the next cycle is due -----------------------------------------------------------------------------------

    def _again_after(self, assessment: Assessment, observation: Observation, *, acted: bool) -> float | None:
        if acted or self.state.pending is not None:
            return LOOK_AGAIN
        if assessment.state == ServiceState.UNDETERMINED:
            return None
        if assessment.wants_dumps and (self.resident or self._lacks_dumps(assessment)):
            return self.rules.dump_gap
        if self.resident and self.state.master_gone_since is not None and not assessment.confirmed:
            return LOOK_AGAIN
        return self._until_a_deadline(assessment, observation) if self.resident else None

    def _lacks_dumps(self, assessment: Assessment) -> bool:
        """Whether a worker has not been dumped twice yet: until then nothing can be said of it."""
        states = [self.state.workers.get(str(process.pid)) for process in assessment.wants_dumps]
        return any(worker is None or worker.same_stacks is None for worker in states)

    def _until_a_deadline(self, assessment: Assessment, observation: Observation) -> float | None:
        """Seconds until a request, a beat or a boot passes its deadline: the resident watchdog looks just then."""
        wall, distrust_before = observation.clocks.wall, self.state.distrust_before
        seconds_left = [
            seconds
            for w in observation.workers
            if w.record is not None
            for seconds in until_stuck(w.record, wall, self.rules.request_deadline, distrust_before)
        ]
        if not isinstance(observation.health, Exchange) or observation.health.status is None:
            seconds_left += self._until_dumps(observation)
        seconds_left += [
            self.rules.boot_deadline - w.seconds
            for w in assessment.workers
            if w.condition == WorkerCondition.BOOTING
        ]
        return max(LOOK_AGAIN, min(seconds_left) + 0.1) if seconds_left else None

    def _until_dumps(self, observation: Observation) -> list[float]:
        """Seconds until a main thread has not run for so long that its stack is wanted."""
        limit = max(self.rules.request_deadline, FRESH_BEAT) - self.rules.dump_gap
        now = observation.clocks.boottime
        since = [
            worker.still[str(w.pid)][1]
            for w in observation.workers
            if (worker := self.state.workers.get(str(w.pid))) is not None and str(w.pid) in worker.still
        ]
        return [moment + limit - now for moment in since if moment + limit > now]
