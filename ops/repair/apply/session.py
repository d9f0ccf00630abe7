"""What the appliers share: the run they belong to, how a remedy ends, and the checks before a change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.control.signals import is_alive
from ops.deployment.install import reason_not_to_replace
from ops.diagnosis.model import Diagnosis
from ops.interpret.process_ref import ProcessRef
from ops.repair.audit_log import AuditLog
from ops.repair.model import NO_WORDS, Outcome
from ops.repair.watchdog_hold import WatchdogHold
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import reason

POLL_SECONDS = 0.2


class NotAppliedError(Exception):
    """A remedy ended without having been applied: ``outcome``, and in ``detail`` the reason."""

    def __init__(self, outcome: Outcome, detail: Text) -> None:
        super().__init__(detail.en)
        self.outcome, self.detail = outcome, detail


def not_needed(en: str, zh: str) -> NotAppliedError:
    """The remedy's reason has gone meanwhile."""
    return NotAppliedError(Outcome.NOT_NEEDED, Text(en=en, zh=zh))


def blocked(en: str, zh: str) -> NotAppliedError:
    """The remedy must not be applied now."""
    return NotAppliedError(Outcome.BLOCKED, Text(en=en, zh=zh))


def refused(en: str, zh: str) -> NotAppliedError:
    """nginx or the service did not accept the change; everything is as it was."""
    return NotAppliedError(Outcome.REFUSED, Text(en=en, zh=zh))


def failed(en: str, zh: str) -> NotAppliedError:
    """The remedy could not be applied, or had no effect."""
    return NotAppliedError(Outcome.FAILED, Text(en=en, zh=zh))


@dataclass(frozen=True)
class AppliedChange:
    """What a remedy changed. ``before`` and ``after``: a few words each; ``copies``: the edited files as they were."""

    before: Text = NO_WORDS
    after: Text = NO_WORDS
    copies: tuple[str, ...] = ()
    detail: Text | None = None


@dataclass(frozen=True)
class RepairSession:
    """One run of `doctor --fix`. ``hold`` is asked before a process is touched; ``tell`` hears what is waited for;
    ``look`` diagnoses, with logs counting so many seconds back (None: as the run was told); ``diagnoses``: the last
    one, in a list that grows."""

    settings: Settings
    settings_path: Path | None
    audit_log: AuditLog
    hold: Callable[[], WatchdogHold]
    tell: Callable[[Text], None]
    look: Callable[[float | None], Diagnosis]
    diagnoses: list[Diagnosis]

    def diagnose(self, since: float) -> Diagnosis:
        """A diagnosis in which only the last ``since`` seconds of the logs count."""
        self.diagnoses.append(self.look(since))
        return self.diagnoses[-1]

    def latest(self) -> Diagnosis:
        """The last diagnosis of the run."""
        return self.diagnoses[-1]

    @property
    def output(self) -> Path:
        """The file that a start command's output is appended to."""
        return self.audit_log.path.with_name("fix-start-output.log")

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Poll ``condition`` until it holds, for at most app.boot_deadline."""
        give_up = time.monotonic() + float(self.settings.app.boot_deadline)
        while not condition() and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)


def must_be_roots(place: Path) -> None:
    """Raises NotAppliedError if somebody other than root has a say in ``place``."""
    if (why := reason_not_to_replace(place)) is not None:
        raise blocked(
            f"root does not change what others have a say in: {why}",
            f"root 不修改他人可改动的文件：{reason(why).to('zh')}",
        )


def must_be_alive(process: ProcessRef) -> None:
    """Raises NotAppliedError if the process has ended."""
    if not is_alive(process):
        raise not_needed(f"process {process.pid} has ended meanwhile", f"进程 {process.pid} 已经结束")


def must_be_unchanged(place: Path, content: bytes) -> None:
    """Raises NotAppliedError if ``place`` no longer holds ``content``; OSError if it cannot be read."""
    if place.read_bytes() != content:
        raise blocked(f"{place} has changed meanwhile", f"{place} 刚被改动过")


def pid_list(pids: Iterable[int]) -> str:
    """The pids in order, ``-`` for none."""
    return ", ".join(map(str, sorted(pids))) or "-"


def workers_words(pids: Iterable[int]) -> Text:
    """Workers by their pids."""
    return Text(en=f"workers {pid_list(pids)}", zh=f"工作进程 {pid_list(pids)}")


def pids_of(processes: Iterable[ProcessRef]) -> str:
    """The pids of ``processes`` in order."""
    return pid_list(process.pid for process in processes)
