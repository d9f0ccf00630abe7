"""The proof of the trouble at hand: which directory it goes to, and when each part of it is taken."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from ops.settings import Settings
from ops.supervision import observe, stacks
from ops.supervision.evidence_store import EvidenceDirectory, directory_name
from ops.supervision.health import Assessment, gone_for, with_dump, with_thread_dump
from ops.supervision.observation import Observation
from ops.supervision.rules import LOOK_AGAIN, Rules
from ops.supervision.state import Subject, WatchdogState

MAX_DUMPS = 4


def named_logs(settings: Settings, subject: Subject) -> tuple[tuple[str, int | None], ...]:
    """The service's logs, and with each the user whose process named it; None where the settings do."""
    own = settings.gunicorn
    return (
        (subject.error_log, None if own.error_log else subject.uid),
        (subject.access_log, None if own.access_log else subject.uid),
    )


class EvidenceCapture:
    """The evidence of the present trouble, below ``root``; ``path`` is empty before the first piece of it."""

    def __init__(self, settings: Settings, settings_path: Path | None, rules: Rules, root: Path) -> None:
        self.settings, self.settings_path, self.rules = settings, settings_path, rules
        self._root = root
        self._evidence: EvidenceDirectory | None = None
        self._stacks: dict[str, str] = {}

    @property
    def path(self) -> str:
        """Where it lies."""
        return str(self._evidence.path) if self._evidence else ""

    def forget(self) -> None:
        """The trouble is over: the next one gets a directory of its own."""
        self._evidence = None

    def causes(self, *, patient: bool) -> tuple[str, ...]:
        """The codes of the causes the doctor named for this trouble (`EvidenceDirectory.causes`)."""
        return self._evidence.causes(patient=patient) if self._evidence is not None else ()

    def dump(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> WatchdogState:
        """Another stack dump of the suspected workers, kept as evidence."""
        workers = dict(memory.workers)
        for who in verdict.wants_dumps[:MAX_DUMPS]:
            known = workers.get(str(who.pid))
            if known is None or (
                known.dump and look.clocks.boottime - known.dump_at < 0.8 * self.rules.dump_gap
            ):
                continue
            taken = stacks.dump(who.pid)
            now, gap = look.clocks.boottime, self.rules.dump_gap
            if known.still:
                updated = with_thread_dump(known, taken, now, self.rules)
            else:
                updated = with_dump(known, taken.digest, now, gap)
            workers[str(who.pid)] = updated
            self._stacks[f"stacks-{who.pid}-{2 if known.dump else 1}.txt"] = taken.text
        return msgspec.structs.replace(memory, workers=workers)

    def keep_stacks(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> None:
        """Write down the stacks just dumped, where they are of a trouble: an idle worker's are no evidence."""
        if self._stacks and verdict.state in ("suspect", "failing"):
            for name, text in self._stacks.items():
                self._evidence_of(verdict, look, memory).put(name, text)
        self._stacks.clear()

    def _evidence_of(
        self, verdict: Assessment, look: Observation, memory: WatchdogState
    ) -> EvidenceDirectory:
        """This trouble's directory; one run's `--once` goes on with the one before it."""
        if self._evidence is None:
            known = memory.trouble.evidence if memory.trouble else ""
            name = Path(known).name if known else directory_name(look.clocks.wall, verdict.fault, self._root)
            self._evidence = EvidenceDirectory(self._root, name)
        return self._evidence

    def prepare(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> None:
        """Have the doctor look while the failure is still being counted, so that no step waits for it."""
        # A service that is being restarted by someone misses its master for one look.
        is_gone = gone_for(memory, look.clocks.boottime) >= 0.8 * LOOK_AGAIN
        if not (verdict.confirmed or verdict.wants_dumps or memory.failures >= 2 or is_gone):
            return
        evidence = self._evidence_of(verdict, look, memory)
        report = evidence.path / "doctor.json"
        old = not report.exists() or (not evidence.doctor_runs and time.time() - report.stat().st_mtime > 300)
        if old and memory.pending is None:
            evidence.put_look(look)
            evidence.start_doctor(self.settings_path)
        if memory.trouble is not None and not memory.trouble.evidence:
            memory.trouble.evidence = str(evidence.path)

    def complete(self, look: Observation, memory: WatchdogState, *, patient: bool) -> None:
        """What only the moment before a step can show: the processes, the ends of the logs, the doctor's report if
        it is waited for."""
        if self._evidence is None:
            return
        pids = [*([look.master.pid] if look.master else []), *(w.pid for w in look.workers)]
        self._evidence.put_look(look)
        self._evidence.put_processes(pids)
        subject = memory.subject
        self._evidence.put_log_tails(named_logs(self.settings, subject))
        if patient:
            self._evidence.causes()

    def fingerprint(self, memory: WatchdogState) -> str:
        """The newest change among the files that decide whether a start works: a mended cause shows here."""
        newest = 0.0
        app_dir = self.settings.app.dir or memory.subject.cwd
        config = observe.config_file(self.settings, memory.subject.cwd)
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
