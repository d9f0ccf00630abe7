"""One round: look --> judge --> decide --> act --> remember, readable from top to bottom.

A round is short, and everything it needs to know of earlier ones is on disk: `--once` from cron and the resident
service are the same round. What is seen (vitals), what it means (judging), which step is due (ladder), how it is done
(acting, by ops/control), what is kept as proof (proof, evidence), what is remembered (account, memory, ledger,
launches), who is told (announcing, telling).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.control.launch import launch_path
from ops.interpret.progress import in_flight_ages
from ops.settings import Settings
from ops.supervision import metrics, observe
from ops.supervision.act import Actor
from ops.supervision.alert_policy import Announcer
from ops.supervision.alerts import Notifier, WatchdogJournal
from ops.supervision.escalation import Step
from ops.supervision.evidence_capture import EvidenceCapture
from ops.supervision.health import ALIVE, Assessment, assess, own_trouble, remembered, without_dumps
from ops.supervision.launches import Launches
from ops.supervision.observation import Observation
from ops.supervision.rules import LOOK_AGAIN, Rules, rules_from
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.supervision.transitions import record_transition
from ops.text.language import Language
from ops.text.sanitize import safe_line

FAILING, UNJUDGED = 2, 3


@dataclass(frozen=True)
class CycleOutcome:
    """One round's result. ``again_after``: seconds until the next look, where it must not wait for the interval."""

    verdict: Assessment
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
        journal: WatchdogJournal,
        *,
        resident: bool,
    ) -> None:
        self.settings, self.settings_path = settings, settings_path
        self.rules: Rules = rules_from(settings)
        self.ledger = StateStore(Path(settings.watchdog.state_file))
        self.journal = journal
        self.language = language
        self.resident = resident
        self.teller = Notifier(self._beside("outbox"), settings.notify.urls, language, journal)
        self.announcer = Announcer(self.teller, journal, self.rules)
        kept = settings.watchdog.evidence_dir
        evidence_root = Path(kept) if kept else self._beside("evidence")
        self.proof = EvidenceCapture(settings, settings_path, self.rules, evidence_root)
        output = self._beside("start-output.log")
        self.actor = Actor(settings, self.rules, self.ledger, self.proof, journal, output, resident=resident)
        self.memory = self.ledger.load(clocks())
        self.launches = Launches(launch_path(settings), journal)
        self._metrics_trouble = False
        self._state_trouble = False
        if self.ledger.set_aside is not None:
            self.journal.note("state_torn", detail=f"set aside as {self.ledger.set_aside}")
            self.announcer.torn_state(self.ledger.set_aside)

    def _beside(self, name: str) -> Path:
        return self.ledger.path.with_name(f"{self.ledger.path.stem}-{name}")

    def round(self, *, counts: bool = True, expected_gap: float | None = None) -> CycleOutcome:
        """Look, judge, decide, act, remember. ``counts``: whether a failure adds to the count; extra looks do not.

        ``expected_gap``: seconds since the last round as planned, None where nothing was."""
        self.actor.reap()
        sight = observe.observe(self.settings, self.memory)
        look = sight.look
        trouble = own_trouble(look, self.memory, expected_gap=expected_gap)
        if trouble is not None:
            look = msgspec.structs.replace(look, own_trouble=trouble)
        memory = msgspec.structs.replace(self.memory, subject=sight.subject)
        memory = remembered(look, memory, self.rules, trouble)
        memory = self.launches.compare(look, memory)
        memory.failures += 1 if counts else 0
        verdict = assess(look, memory, self.rules)
        if verdict.wants_dumps:
            memory = self.proof.dump(verdict, look, memory)
            verdict = assess(look, memory, self.rules)
            self.proof.keep_stacks(verdict, look, memory)
        memory = without_dumps(memory, (*verdict.wants_dumps, *(w.identity for w in verdict.stuck)))
        paused = self.ledger.paused(look.clocks.wall) is not None
        memory = self.actor.follow_up(verdict, look, memory)
        self.launches.remember(verdict, look, memory)
        memory = record_transition(verdict, look, memory, self.rules, self.journal, evidence=self.proof.path)
        step = Step(None)
        if verdict.state in ("failing", "suspect"):
            self.proof.prepare(verdict, look, memory)
            step, memory = self.actor.decide(verdict, look, memory, paused=paused)
        was_in_trouble = memory.trouble is not None
        memory = self.announcer.trouble(verdict, look, memory, step, self.proof.path)
        if was_in_trouble and memory.trouble is None:
            self.proof.forget()
        memory = self.announcer.saturation(verdict, look, memory)
        acted = False
        if step.rung is not None:
            acted, memory = self.actor.act(step, verdict, look, memory)
        self._remember(memory, paused=paused)
        self.teller.deliver_beside()
        return CycleOutcome(
            verdict, step, paused, acted, self._again_after(verdict, look, acted), self.memory.gave_up
        )

    # --- remembering --------------------------------------------------------------------------------------------------

    def _remember(self, memory: WatchdogState, *, paused: bool) -> None:
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

    # --- when to look again -------------------------------------------------------------------------------------------

    def _again_after(self, verdict: Assessment, look: Observation, acted: bool) -> float | None:
        if acted or self.memory.pending is not None:
            return LOOK_AGAIN
        if verdict.state == "unjudged":
            return None
        if verdict.wants_dumps:
            return self.rules.dump_gap
        if self.resident and self.memory.master_gone_since is not None and not verdict.confirmed:
            return LOOK_AGAIN
        return self._until_a_deadline(verdict, look) if self.resident else None

    def _until_a_deadline(self, verdict: Assessment, look: Observation) -> float | None:
        """Seconds until a request in flight, or a boot, passes its deadline: the resident watchdog looks just then."""
        deadline = self.rules.request_deadline
        left = [
            deadline - age
            for w in look.workers
            if w.record is not None
            for age in in_flight_ages(w.record, look.clocks.wall, self.memory.distrust_before)
            if age < deadline
        ]
        left += [self.rules.boot_deadline - w.seconds for w in verdict.workers if w.kind == "booting"]
        return max(LOOK_AGAIN, min(left) + 0.1) if left else None
