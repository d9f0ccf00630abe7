"""Remedies and their results: ``plan`` makes remedies, ``apply`` carries them out, reports show both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ops.archive.manifest import ManifestEntry
from ops.diagnosis.model import Cause, Diagnosis, RankedChange
from ops.facts.base import UNFINISHED
from ops.interpret.process_ref import ProcessRef
from ops.text.language import Text

# Nothing to say.
NO_WORDS = Text(en="", zh="")


class Safety(StrEnum):
    """A safe remedy changes nothing that somebody decided, and either helps or leaves things as they were."""

    SAFE = "safe"
    RISKY = "risky"


class Area(StrEnum):
    """What an action disturbs: a process of gunicorn's or nginx's, or files alone."""

    GUNICORN = "gunicorn"
    NGINX = "nginx"
    FILES = "files"


class Outcome(StrEnum):
    """What became of a remedy. The values are those of the JSON report and of the audit log."""

    SHOWN = "shown"
    """Not asked for."""
    DECLINED = "declined"
    BLOCKED = "held"
    """It must not be done now."""
    NOT_NEEDED = "unneeded"
    """Its reason had gone when its turn came."""
    APPLIED = "applied"
    REFUSED = "refused"
    """nginx or the service did not accept the change, and everything is as it was."""
    FAILED = "failed"

    @property
    def is_attempt(self) -> bool:
        """Whether anything was tried: a second diagnosis is due."""
        return self in (Outcome.APPLIED, Outcome.REFUSED, Outcome.FAILED)


@dataclass(frozen=True)
class FileEdit:
    """One file's content, before and after."""

    path: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class StartGunicorn:
    """Start the service by its supervisor."""

    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class RestartGunicorn:
    """End what is left of the service, and start it."""

    master: ProcessRef
    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class ReloadGunicorn:
    """Have the master replace its workers, by SIGHUP. ``workers``: the pids to be replaced."""

    master: ProcessRef
    workers: tuple[int, ...]
    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class EndWorker:
    """End one stuck worker, if the watchdog's own proof holds against it."""

    pid: int
    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class Continue:
    """Continue stopped processes, by SIGCONT."""

    processes: tuple[ProcessRef, ...]
    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class StartNginx:
    """Start nginx. ``unit``: its systemd unit, None to run its program."""

    unit: str | None
    area: Area = Area.NGINX


@dataclass(frozen=True)
class ReloadNginx:
    """Reload nginx. ``workers``: the pids that serve the old configuration."""

    masters: tuple[ProcessRef, ...]
    workers: tuple[int, ...]
    area: Area = Area.NGINX


@dataclass(frozen=True)
class EditNginx:
    """Edit files of nginx's configuration, test them, and reload."""

    edits: tuple[FileEdit, ...]
    masters: tuple[ProcessRef, ...]
    area: Area = Area.NGINX


@dataclass(frozen=True)
class EditGunicorn:
    """Edit gunicorn's configuration file, and restart the service."""

    edit: FileEdit
    master: ProcessRef
    area: Area = Area.GUNICORN


@dataclass(frozen=True)
class ReopenLogs:
    """Have masters reopen their logs, by SIGUSR1. ``stale``: pid and /proc/PID/fd link of each log that is written to
    after its rotation."""

    masters: tuple[ProcessRef, ...]
    stale: tuple[tuple[int, str], ...]
    area: Area = Area.FILES


@dataclass(frozen=True)
class MendPidfile:
    """Write the master's pid into gunicorn's own pidfile; remove a file that gunicorn does not maintain.

    ``number``: the wrong pid in it; ``namer``: the user whose process named the file, None if settings did;
    ``keeps``: whether gunicorn maintains it."""

    path: str
    number: int
    master: ProcessRef
    keeps: bool
    namer: int | None = None
    area: Area = Area.FILES


@dataclass(frozen=True)
class ChangeMode:
    """Permission bits of one file, before and after."""

    path: str
    before: int
    after: int
    area: Area = Area.FILES


@dataclass(frozen=True)
class NewFile:
    """A file to install, and the present content of its path (None: no file)."""

    path: str
    text: str
    mode: int
    present: str | None


@dataclass(frozen=True)
class InstallRotation:
    """Install our logrotate rule. ``left_out``: why some logs are not in it."""

    files: tuple[NewFile, ...]
    left_out: tuple[Text, ...] = ()
    area: Area = Area.FILES


@dataclass(frozen=True)
class Replacement:
    """What is to lie at a path: what was there while the service was healthy, or an edited file.

    ``entry``: None for no file; ``content``: a file's; ``source``: where it was kept, or what it is; ``present``: the
    content now, None for no file or one that cannot be read."""

    path: str
    entry: ManifestEntry | None
    content: bytes
    source: Text
    present: bytes | None


@dataclass(frozen=True)
class PackageVersion:
    """A package of the service's environment: the version that it is to have, and ``present``, empty for none."""

    name: str
    version: str
    present: str


@dataclass(frozen=True)
class ExchangeFiles:
    """Exchange files, have them tested and loaded, and exchange them back if that does not help. ``nginx``,
    ``gunicorn``: whether that reads one of the files; ``interrupts``: whether gunicorn is restarted although it
    serves; ``packages``: versions to install by ``python`` first."""

    files: tuple[Replacement, ...]
    nginx: bool
    gunicorn: bool
    interrupts: bool = False
    packages: tuple[PackageVersion, ...] = ()
    python: str = ""

    @property
    def area(self) -> Area:
        """gunicorn's where it is restarted, else nginx's where that is reloaded."""
        return Area.GUNICORN if self.gunicorn else Area.NGINX if self.nginx else Area.FILES


@dataclass(frozen=True)
class CreateBackup:
    """Create a backup."""

    area: Area = Area.FILES


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
    | ExchangeFiles
)


@dataclass(frozen=True)
class RepairContext:
    """What planning needs beside the snapshot.

    ``files``: contents of nginx's and gunicorn's configuration files. ``start``: the command that starts the service,
    None if it is unknown. ``rotation``: our logrotate rule for this host, or why there is none; ``rotation_diff``: what
    it would change; ``not_rotated``: why logs are left out of it. ``key_group_is_owners``: whether the private key's
    group has no member but the key's owner. ``not_edited``: by file, why root does not change it. ``pidfile``:
    gunicorn's, as the settings name it. ``settings_file``: what printed gte-ops commands need after --config;
    ``grace_seconds``: how long a master that reacts gets to end. ``changes``: what differs from the last baseline, with
    the causes whose proof it belongs to; ``known_good``: what to put back, by changed path; ``placed``: when
    these came to their place (Unix seconds, the inode's ctime); ``entries``: owner and
    mode of each file in ``files``, by its real path, and ``real``: that path of each. ``printed``: the edits that a
    cause's printed fix makes, by code; ``pair``: the site's links to the newest pair in certbot's archive that fits;
    ``with_intermediate``: the site's certificate with the intermediate that it lacks. ``now``: Unix seconds;
    ``utc_offset``: the host's (seconds east)."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    start: str | None = None
    rotation: tuple[NewFile, ...] | str = "it was not made"
    rotation_diff: tuple[str, ...] = ()
    not_rotated: tuple[Text, ...] = ()
    key_group_is_owners: bool = False
    not_edited: Mapping[str, str] = field(default_factory=dict)
    pidfile: str | None = None
    settings_file: str | None = None
    grace_seconds: float = 8.0
    changes: Sequence[RankedChange] = ()
    known_good: Mapping[str, tuple[Replacement, ...]] = field(default_factory=dict)
    placed: Mapping[str, float] = field(default_factory=dict)
    entries: Mapping[str, ManifestEntry] = field(default_factory=dict)
    real: Mapping[str, str] = field(default_factory=dict)
    printed: Mapping[str, tuple[FileEdit, ...]] = field(default_factory=dict)
    pair: tuple[Replacement, ...] = ()
    with_intermediate: Replacement | None = None
    now: float = 0.0
    utc_offset: int = 0


@dataclass(frozen=True)
class Remedy:
    """The repair of one cause. ``what``: a sentence; without an ``action`` it says why nothing is done automatically.

    ``risk``: why it is risky. ``commands``: the same as a person would type it; ``diff``: the change of files, as
    lines; ``settings_file``: what printed gte-ops commands need after --config."""

    cause: Cause
    safety: Safety | None
    what: Text
    action: Action | None
    risk: Text | None = None
    commands: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    settings_file: str | None = None


@dataclass(frozen=True)
class RemedyResult:
    """One remedy and its outcome. ``before`` and ``after``: a few words each, empty for nothing to say; ``copies``:
    paths of the edited files as they were."""

    remedy: Remedy
    outcome: Outcome
    detail: Text | None = None
    before: Text = NO_WORDS
    after: Text = NO_WORDS
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repair:
    """One run of `doctor --fix`. ``first`` and ``last``: the diagnosis before and after; ``last`` is ``first`` if
    nothing was done. ``log``: path of the audit log, None if nothing was logged.

    Each code of the first diagnosis is in one of ``fixed``, ``remaining`` and ``not_fixed``."""

    level: Safety
    first: Diagnosis
    results: tuple[RemedyResult, ...]
    last: Diagnosis
    log: str | None

    @property
    def acted(self) -> bool:
        """Whether anything was tried."""
        return any(result.outcome.is_attempt for result in self.results)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Codes of the first diagnosis that are gone, and gone for good: see `not_fixed`."""
        return tuple(code for code in self._gone if code not in self.not_fixed)

    @property
    def not_fixed(self) -> tuple[str, ...]:
        """Codes that are gone although users are no better off: their last remedy failed, another cause keeps users
        from the service that was not there before, or the last diagnosis did not come to judge them."""
        last_attempts = {
            result.remedy.cause.code: result.outcome for result in self.results if result.outcome.is_attempt
        }
        failed = {code for code, outcome in last_attempts.items() if outcome is not Outcome.APPLIED}
        worse = any(cause.code in self.new and cause.severity == "fail" for cause in self.last.causes)
        hurting = {cause.code for cause in self.first.causes if cause.severity == "fail"}
        return tuple(
            code
            for code in self._gone
            if code in failed or code in self.not_judged or (worse and code in hurting)
        )

    @property
    def not_judged(self) -> tuple[str, ...]:
        """Codes of the first diagnosis whose check did not finish in the last one: they may be there still."""
        from ops.diagnosis.checks import CHECKS

        unfinished = {
            result.id
            for result in self.last.checks
            if result.skipped_because is not None and result.skipped_because.en.endswith(UNFINISHED)
        }
        codes = {code for check in CHECKS if check.id in unfinished for code in check.codes}
        return tuple(code for code in self._gone if code in codes)

    def is_superseded(self, result: RemedyResult) -> bool:
        """Whether another remedy of the same cause did what ``result`` did not."""
        later = self.results[self.results.index(result) + 1 :]
        return result.outcome in (Outcome.FAILED, Outcome.REFUSED) and any(
            item.outcome is Outcome.APPLIED and item.remedy.cause.code == result.remedy.cause.code
            for item in later
        )

    @property
    def _gone(self) -> tuple[str, ...]:
        present = _codes(self.last)
        return tuple(cause.code for cause in self.first.causes if cause.code not in present)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Codes that both diagnoses have; the first may have had one as what only follows from another."""
        return tuple(code for code in self._known if code in _codes(self.last))

    @property
    def new(self) -> tuple[str, ...]:
        """Codes that only the last diagnosis has."""
        return tuple(cause.code for cause in self.last.causes if cause.code not in self._known)

    @property
    def _known(self) -> tuple[str, ...]:
        """What the first diagnosis named: its causes, then what only followed from one."""
        causes = self.first.causes
        followers = (name for cause in causes for name in cause.explains)
        return tuple(dict.fromkeys((*(cause.code for cause in causes), *followers)))


def helps(remedy: Remedy, level: Safety) -> bool:
    """Whether a run at ``level`` applies the remedy."""
    return remedy.action is not None and (remedy.safety is Safety.SAFE or level is Safety.RISKY)


def brings_back(remedies: Sequence[Remedy], level: Safety) -> bool | None:
    """Whether a run at ``level`` has a remedy for every cause that affects users; None if none affects them."""
    hurting = {remedy.cause.code for remedy in remedies if remedy.cause.severity == "fail"}
    if not hurting:
        return None
    return hurting <= {remedy.cause.code for remedy in remedies if helps(remedy, level)}


def most_helpful_level(remedies: Sequence[Remedy], level: Safety) -> Safety | None:
    """``level``, or risky if that mends more causes that affect users (or is the only one that does anything); None if
    users are affected and neither mends any of it."""

    def mended(at: Safety) -> set[str]:
        return {remedy.cause.code for remedy in remedies if helps(remedy, at)}

    hurting = {remedy.cause.code for remedy in remedies if remedy.cause.severity == "fail"}
    counted = hurting or {remedy.cause.code for remedy in remedies}
    by_level, by_risk = mended(level) & counted, mended(Safety.RISKY) & counted
    if not by_risk:
        return None
    is_enough = by_level == by_risk or (by_level and not hurting)
    return level if is_enough else Safety.RISKY


def _codes(diagnosis: Diagnosis) -> set[str]:
    return {cause.code for cause in diagnosis.causes}
