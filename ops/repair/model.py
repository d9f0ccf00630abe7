"""What a remedy is, and what became of it: planning makes it, applying acts on it, reports render it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ops.diagnosis.model import Cause, Diagnosis
from ops.interpret.process_ref import ProcessRef
from ops.text.language import Text

Safety = Literal["safe", "risky"]
# What an action disturbs: a process of gunicorn's or nginx's, or files alone.
Area = Literal["gunicorn", "nginx", "files"]
# shown: nobody asked for it; held: it must not be done now; unneeded: its reason had gone when its turn came;
# refused: nginx or the service did not take it, and everything is as it was; failed: it could not be done.
Result = Literal["shown", "declined", "held", "unneeded", "applied", "refused", "failed"]


@dataclass(frozen=True)
class FileEdit:
    """One file's content, before and after."""

    path: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class StartGunicorn:
    """Start the service by its supervisor."""

    area: Area = "gunicorn"


@dataclass(frozen=True)
class RestartGunicorn:
    """Take down what is left of the service, and start it."""

    master: ProcessRef
    area: Area = "gunicorn"


@dataclass(frozen=True)
class ReloadGunicorn:
    """New workers beside the old, by SIGHUP to the master. ``workers``: those to be replaced."""

    master: ProcessRef
    workers: tuple[int, ...]
    area: Area = "gunicorn"


@dataclass(frozen=True)
class EndWorker:
    """End one stuck worker, by the watchdog's proof."""

    pid: int
    area: Area = "gunicorn"


@dataclass(frozen=True)
class Continue:
    """Let stopped processes run on."""

    processes: tuple[ProcessRef, ...]
    area: Area = "gunicorn"


@dataclass(frozen=True)
class StartNginx:
    """Start nginx. ``unit``: by systemd."""

    unit: str | None
    area: Area = "nginx"


@dataclass(frozen=True)
class ReloadNginx:
    """Have nginx read its files again. ``workers``: pids of those that read the old ones."""

    masters: tuple[ProcessRef, ...]
    workers: tuple[int, ...]
    area: Area = "nginx"


@dataclass(frozen=True)
class EditNginx:
    """Change files of nginx's configuration, and have it read them."""

    edits: tuple[FileEdit, ...]
    masters: tuple[ProcessRef, ...]
    area: Area = "nginx"


@dataclass(frozen=True)
class EditGunicorn:
    """Change gunicorn's configuration file, and restart the service with it."""

    edit: FileEdit
    master: ProcessRef
    area: Area = "gunicorn"


@dataclass(frozen=True)
class ReopenLogs:
    """Have masters open their logs anew, by SIGUSR1. ``stale``: (pid, link as /proc/PID/fd shows it) of what
    is written to by mistake."""

    masters: tuple[ProcessRef, ...]
    stale: tuple[tuple[int, str], ...]
    area: Area = "files"


@dataclass(frozen=True)
class MendPidfile:
    """Write the master's pid into gunicorn's own pidfile; remove a file that gunicorn does not keep.

    ``found``: the pid it wrongly names; ``namer``: the user whose process named the file, None where settings did."""

    path: str
    found: int
    master: ProcessRef
    keeps: bool
    namer: int | None = None
    area: Area = "files"


@dataclass(frozen=True)
class ChangeMode:
    """Permission bits of one file, before and after."""

    path: str
    before: int
    after: int
    area: Area = "files"


@dataclass(frozen=True)
class NewFile:
    """A file to be put in place, and what lies there now (None: nothing)."""

    path: str
    text: str
    mode: int
    present: str | None


@dataclass(frozen=True)
class InstallRotation:
    """Put our logrotate rule in place. ``left_out``: why logs are not in it."""

    files: tuple[NewFile, ...]
    left_out: tuple[Text, ...] = ()
    area: Area = "files"


@dataclass(frozen=True)
class CreateBackup:
    """Make a backup."""

    area: Area = "files"


Action = (
    StartGunicorn
    | RestartGunicorn
    | ReloadGunicorn
    | EndWorker
    | Continue
    | StartNginx
    | ReloadNginx
    | EditNginx
    | EditGunicorn
    | ReopenLogs
    | MendPidfile
    | ChangeMode
    | InstallRotation
    | CreateBackup
)


@dataclass(frozen=True)
class Remedy:
    """What mends one cause. ``what``: a sentence; where ``action`` is None there is nothing automatic, and it says why.

    ``risk``: why it is risky. ``commands``: the same as a person would type it; ``diff``: the change of files, as
    lines."""

    cause: Cause
    safety: Safety | None
    what: Text
    action: Action | None
    risk: Text | None = None
    commands: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()


@dataclass(frozen=True)
class Treated:
    """One remedy and what became of it. ``before`` and ``after`` in a few words; ``kept``: copies of edited files."""

    remedy: Remedy
    result: Result
    detail: Text | None = None
    before: str = ""
    after: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repair:
    """One run of `doctor --fix`. ``first`` and ``last``: the diagnosis before and after; ``last`` is ``first`` where
    nothing was done. ``log``: where every step stands, None where there was none."""

    level: Safety
    first: Diagnosis
    treated: tuple[Treated, ...]
    last: Diagnosis
    log: str | None

    @property
    def acted(self) -> bool:
        """Whether anything was tried."""
        return any(item.result in ("applied", "refused", "failed") for item in self.treated)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Codes that were a cause before, and are none now."""
        left = _named(self.last)
        return tuple(cause.code for cause in self.first.causes if cause.code not in left)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Codes that were a cause before, and still are."""
        left = _named(self.last)
        return tuple(cause.code for cause in self.first.causes if cause.code in left)

    @property
    def new(self) -> tuple[str, ...]:
        """Codes of causes that were none before."""
        known = _named(self.first)
        return tuple(cause.code for cause in self.last.causes if cause.code not in known)


def _named(diagnosis: Diagnosis) -> set[str]:
    return {cause.code for cause in diagnosis.causes}
