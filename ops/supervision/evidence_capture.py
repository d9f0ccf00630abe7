"""Which evidence of the present trouble is captured, when, and into which directory."""

from __future__ import annotations

import contextlib
import time
import zlib
from pathlib import Path

import msgspec

from ops.settings import Settings
from ops.supervision import observe, stacks
from ops.supervision.evidence_store import EvidenceDirectory, ReportedCause, directory_name
from ops.supervision.health.assess import assess
from ops.supervision.health.assessment import Assessment
from ops.supervision.health.master import gone_for
from ops.supervision.observation import Observation
from ops.supervision.rules import LOOK_AGAIN, Rules
from ops.supervision.state import ServiceState, Subject, WatchdogState
from ops.supervision.state_update import with_dump, with_thread_dump

MAX_DUMPS = 4
# A report of an earlier run of `--once` is used again while it is no older than this, seconds.
REPORT_SECONDS = 300


def evidence_root(settings: Settings) -> Path:
    """The directory below which each trouble gets a directory of its own."""
    configured = settings.watchdog.evidence_dir
    state_file = Path(settings.watchdog.state_file)
    return Path(configured) if configured else state_file.with_name(f"{state_file.stem}-evidence")


def named_logs(settings: Settings, subject: Subject) -> tuple[tuple[str, int | None], ...]:
    """The service's logs, each with the user whose process named it; None if the settings name it."""
    own = settings.gunicorn
    return (
        (subject.error_log, None if own.error_log else subject.uid),
        (subject.access_log, None if own.access_log else subject.uid),
    )


class EvidenceCapture:
    """The evidence of the present trouble. ``path`` is empty until there is some."""

    def __init__(self, settings: Settings, settings_path: Path | None, rules: Rules) -> None:
        self.settings, self.settings_path, self.rules = settings, settings_path, rules
        self._root = evidence_root(settings)
        self._directory: EvidenceDirectory | None = None
        self._stacks: dict[str, str] = {}

    @property
    def path(self) -> str:
        """The directory of the present trouble."""
        return str(self._directory.path) if self._directory else ""

    def forget(self) -> None:
        """The trouble is over: the next one gets a directory of its own."""
        self._directory = None

    def causes(self, *, patient: bool) -> tuple[ReportedCause, ...]:
        """The causes the doctor found for this trouble (`EvidenceDirectory.causes`)."""
        return self._directory.causes(patient=patient) if self._directory is not None else ()

    def assess(self, observation: Observation, state: WatchdogState) -> tuple[Assessment, WatchdogState]:
        """Assess the service, with another dump of the stacks if the assessment asks for it; the dumps are kept."""
        assessment = assess(observation, state, self.rules)
        if assessment.wants_dumps:
            state = self._dump(assessment, observation, state)
            assessment = assess(observation, state, self.rules)
            self._keep_stacks(assessment, observation, state)
        return assessment, state

    def _dump(self, assessment: Assessment, observation: Observation, state: WatchdogState) -> WatchdogState:
        """``state`` after another stack dump of the suspected workers."""
        workers = dict(state.workers)
        now, gap = observation.clocks.boottime, self.rules.dump_gap
        due = [
            (process, before)
            for process in assessment.wants_dumps
            if (before := workers.get(str(process.pid))) is not None
            and not (before.dump and now - before.dump_at < 0.8 * gap)
        ]
        # Those that were never dumped first: with many workers, each has its turn.
        for process, before in sorted(due, key=lambda item: item[1].dump_at)[:MAX_DUMPS]:
            dump = stacks.dump(process.pid)
            workers[str(process.pid)] = (
                with_thread_dump(process.pid, before, dump, now, self.rules)
                if before.still
                else with_dump(before, dump.digest, now, gap)
            )
            self._stacks[f"stacks-{process.pid}-{2 if before.dump else 1}.txt"] = dump.text
        return msgspec.structs.replace(state, workers=workers)

    def _keep_stacks(self, assessment: Assessment, observation: Observation, state: WatchdogState) -> None:
        """Write the stacks just dumped to the directory, unless nothing is wrong: an idle worker's are no evidence."""
        if self._stacks and assessment.state in (ServiceState.SUSPECT, ServiceState.FAILING):
            for name, text in self._stacks.items():
                self.open(assessment, observation, state).put(name, text)
        self._stacks.clear()

    def open(
        self, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> EvidenceDirectory:
        """The directory of the present trouble. A run of `--once` goes on with the one of the run before it."""
        if self._directory is None:
            earlier = state.trouble.evidence if state.trouble else ""
            name = (
                Path(earlier).name
                if earlier
                else directory_name(observation.clocks.wall, assessment.fault, self._root)
            )
            self._directory = EvidenceDirectory(self._root, name)
        return self._directory

    def prepare(
        self, assessment: Assessment, observation: Observation, state: WatchdogState
    ) -> WatchdogState:
        """Start the doctor while the failure is still being counted, so that no action waits for it."""
        # If somebody restarts the service, its master is missing for one cycle.
        is_gone = gone_for(state, observation.clocks.boottime) >= 0.8 * LOOK_AGAIN
        if not (assessment.confirmed or assessment.wants_dumps or state.failures >= 2 or is_gone):
            return state
        directory = self.open(assessment, observation, state)
        last_action = state.actions[-1].wall if state.actions else 0.0
        if state.pending is None and _needs_report(directory, last_action):
            directory.put_observation(observation)
            directory.start_doctor(self.settings_path)
        if state.trouble is None or state.trouble.evidence:
            return state
        trouble = msgspec.structs.replace(state.trouble, evidence=str(directory.path))
        return msgspec.structs.replace(state, trouble=trouble)

    def complete(self, observation: Observation, state: WatchdogState, *, patient: bool) -> None:
        """Capture what only the moment before an action can show: the processes and the ends of the logs.

        ``patient``: wait for the doctor's report too."""
        if self._directory is None:
            return
        pids = [
            *([observation.master.pid] if observation.master else []),
            *(w.pid for w in observation.workers),
        ]
        self._directory.put_observation(observation)
        self._directory.put_processes(pids)
        self._directory.put_log_tails(named_logs(self.settings, state.subject))
        if patient:
            self._directory.causes()

    def fingerprint(self, state: WatchdogState) -> str:
        """What changes with a repair: the newest modification time among the files that decide whether a start works,
        and the access to the places that gunicorn writes to."""
        app_dir = self.settings.app.dir or state.subject.cwd
        config = observe.config_file(self.settings, state.subject.cwd)
        candidates = [Path("/etc/passwd"), Path("/etc/group"), *([Path(config)] if config else [])]
        candidates += [Path(word) for word in self.settings.gunicorn.start_command[:1]]
        if self.settings_path is not None:
            candidates.append(self.settings_path)
        if self.settings.app.python:
            prefix = Path(self.settings.app.python).parent.parent
            candidates += list(prefix.glob("lib/python3*/site-packages"))
        if app_dir:
            with contextlib.suppress(OSError):
                candidates += [p for p in Path(app_dir).iterdir() if p.suffix == ".py"][:500]
        newest = 0.0
        for path in candidates:
            with contextlib.suppress(OSError):
                newest = max(newest, path.stat().st_mtime)
        return f"{newest:.3f} {zlib.crc32(self._access(state).encode()):08x}"

    def _access(self, state: WatchdogState) -> str:
        """Who may write where gunicorn writes: where a directory or a permission was missing, this changes with the
        repair. Times do not count, since the directories may be used by others too."""
        own, subject = self.settings.gunicorn, state.subject
        outputs = [own.pidfile, own.error_log or subject.error_log, own.access_log or subject.access_log]
        if subject.backend.startswith("unix:"):
            outputs.append(subject.backend.removeprefix("unix:"))
        access = []
        for name in outputs:
            if not name:
                continue
            place = next(
                path for path in (Path(name), *Path(name).parents) if path.exists() or path == path.parent
            )
            with contextlib.suppress(OSError):
                status = place.stat()
                access.append(f"{place} {status.st_mode:o} {status.st_uid} {status.st_gid}")
        return "\n".join(access)


def _needs_report(directory: EvidenceDirectory, last_action: float) -> bool:
    """Whether the doctor is to run: it never did for this trouble, or its report is old, or older than the last action
    (Unix seconds), and it is not running."""
    report = directory.path / "doctor.json"
    if not report.exists():
        return True
    written_at = report.stat().st_mtime
    return not directory.doctor_runs and (
        time.time() - written_at > REPORT_SECONDS or written_at < last_action
    )
