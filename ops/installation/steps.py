"""The steps of an installation, and how each is undone: values only. `ops.installation.host` acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import msgspec

from ops.deployment.render import DeploymentKind, RenderedFile
from ops.interpret.process_ref import ProcessRef


class Phase(IntEnum):
    """The order in which steps are applied; they are undone in the reverse order."""

    DATA = 0
    SETTINGS = 10
    ENVIRONMENT = 20
    COMMAND = 30
    ACCOUNT_FILES = 40
    ACCOUNTS = 50
    DIRECTORIES = 60
    CERTIFICATE = 70
    UNITS_BEFORE = 80
    UNITS = 90
    UNITS_READ = 100
    SERVICE = 110
    READY = 120
    DRAIN_BEFORE = 128
    NGINX_BEFORE = 130
    ISSUE = 135
    NGINX = 140
    NGINX_READ = 150
    FRONT = 160
    STARTERS = 162
    RETIRE = 164
    FILES = 170
    WATCH = 180
    BACKUP = 190


# --- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FileStep:
    """Put a file in place. ``kind``: whose program validates it, None for no program. ``is_data``: it stays when the
    installation is undone, unless that is asked for. ``keeps_owner``: whoever owns the file there goes on owning it."""

    phase: Phase
    file: RenderedFile
    kind: DeploymentKind | None = None
    is_data: bool = False
    keeps_owner: bool = False


@dataclass(frozen=True, kw_only=True)
class LinkStep:
    """A symbolic link at ``path`` to ``target``."""

    phase: Phase
    path: str
    target: str


@dataclass(frozen=True, kw_only=True)
class DataStep:
    """Directories and logs that the service, nginx and the watchdog fill. Only those that are missing before the
    installation belong to it; they are removed with everything in them if that is asked for."""

    paths: tuple[str, ...]
    phase: Phase = Phase.DATA


@dataclass(frozen=True, kw_only=True)
class EnvironmentStep:
    """A Python environment in ``directory`` that satisfies ``requirement``. ``wheels``: a directory that packages come
    from instead of an index."""

    directory: str
    requirement: str
    wheels: str | None = None
    phase: Phase = Phase.ENVIRONMENT

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return f"{self.directory}/bin/python3"

    @property
    def install(self) -> tuple[str, ...]:
        """The command that installs the packages."""
        source = ("--no-index", "--find-links", self.wheels) if self.wheels else ()
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        return (*pip, *source, self.requirement)


@dataclass(frozen=True, kw_only=True)
class AccountsStep:
    """System accounts without a password, a shell and files of their own. ``commands``: what makes each missing one."""

    names: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    phase: Phase = Phase.ACCOUNTS


class Directory(msgspec.Struct, frozen=True):
    """A directory with its mode and owner."""

    path: str
    mode: int
    user: str
    group: str


@dataclass(frozen=True, kw_only=True)
class DirectoriesStep:
    """Directories that must exist before a unit's sandbox is set up."""

    directories: tuple[Directory, ...]
    phase: Phase = Phase.DIRECTORIES


@dataclass(frozen=True, kw_only=True)
class UnitsStep:
    """systemd reads its units again. ``is_before``: placed before the files, for the way back. ``restarted``: for each
    unit the files whose change it takes up only by a restart."""

    phase: Phase
    files: tuple[str, ...]
    restarted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_before: bool = False


@dataclass(frozen=True, kw_only=True)
class EnableStep:
    """Units that start at boot, and now."""

    phase: Phase
    units: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NginxStep:
    """nginx tests its configuration and takes it up. ``is_before``: placed before the files, for the way back."""

    phase: Phase
    files: tuple[str, ...]
    test: tuple[str, ...]
    reload: tuple[str, ...]
    is_before: bool = False


@dataclass(frozen=True, kw_only=True)
class CertificateStep:
    """Obtain a certificate from an ACME authority, once the service is ready: a start that fails costs no issuance.

    ``challenge``: nginx's site for as long as that takes, unless nginx answers at ``address`` already. ``own``: what
    the client makes for this certificate, ``shared``: for all of its certificates; ``others``: files whose presence
    tells that it has further ones."""

    domain: str
    certificate: str
    private_key: str
    challenge: RenderedFile
    challenge_root: str
    address: str
    commands: tuple[tuple[str, ...], ...]
    test: tuple[str, ...]
    reload: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    others: str | None = None
    phase: Phase = Phase.ISSUE


@dataclass(frozen=True, kw_only=True)
class ReadyStep:
    """Wait until the service answers at ``address`` (host:port or unix:/path). ``domain``: over TLS, by this name;
    ``payload``: JSON that is posted, in place of a GET."""

    phase: Phase
    address: str
    path: str
    seconds: float
    domain: str | None = None
    payload: str | None = None


class FormerService(msgspec.Struct, frozen=True):
    """The gunicorn that another one takes over from, and how it is started again: by its systemd ``unit``, else by
    ``argv`` as it was launched. ``address``: where it listens; ``is_enabled``: the unit starts at boot; ``launch``: the
    account, directory, environment and limits (`ops.control.launch.Launch`), as JSON."""

    master: ProcessRef
    address: str
    unit: str | None = None
    is_enabled: bool = False
    argv: tuple[str, ...] = ()
    launch: str | None = None


@dataclass(frozen=True, kw_only=True)
class DrainStep:
    """For the way back: nginx's workers that know the new service end, before that is stopped. ``file``: nginx's site,
    by whose change the workers are told apart."""

    file: str
    seconds: float
    phase: Phase = Phase.DRAIN_BEFORE


@dataclass(frozen=True, kw_only=True)
class RetireStep:
    """The former service ends, once nginx's workers that know it have ended; its unit is disabled, not removed."""

    former: FormerService
    file: str
    seconds: float
    phase: Phase = Phase.RETIRE


@dataclass(frozen=True, kw_only=True)
class BackupStep:
    """Make the first backup, unless ``directory`` has one. If that fails, the installation stands."""

    directory: str
    command: tuple[str, ...]
    phase: Phase = Phase.BACKUP


Step = (
    FileStep
    | LinkStep
    | DataStep
    | EnvironmentStep
    | AccountsStep
    | DirectoriesStep
    | UnitsStep
    | EnableStep
    | NginxStep
    | CertificateStep
    | ReadyStep
    | BackupStep
    | DrainStep
    | RetireStep
)


class StepState(StrEnum):
    """What a step finds on the host, or has done to it."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    EDITED = "edited"
    """A file that was edited since it was installed: shown, and left alone."""
    DUE = "due"
    """A command that is to be run."""


@dataclass(frozen=True)
class Assessed:
    """A step and what it finds. ``diff``: what changes in a file; ``commands``: what is run; ``logins``: existing
    accounts that a person may log in to, with shell and home."""

    step: Step
    state: StepState
    diff: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    logins: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_due(self) -> bool:
        """Whether the step has something to do."""
        return self.state in (StepState.NEW, StepState.CHANGED, StepState.DUE)


# --- the way back -----------------------------------------------------------------------------------------------------


class Original(msgspec.Struct, frozen=True):
    """A file as it was before: its content by SHA-256 in the store, and its metadata."""

    digest: str
    mode: int
    uid: int
    gid: int
    modified_ns: int


class UndoFile(msgspec.Struct, frozen=True, tag="file"):
    """Put ``original`` back, or remove the file, and then the directories ``made`` for it that are empty.

    ``digest``: of the installed content; another one was edited since, and is copied first."""

    phase: int
    path: str
    digest: str
    original: Original | None = None
    made: tuple[str, ...] = ()
    is_data: bool = False


class UndoLink(msgspec.Struct, frozen=True, tag="link"):
    """Put the link's former target back, or remove it."""

    phase: int
    path: str
    target: str
    before: str | None = None
    made: tuple[str, ...] = ()


class UndoData(msgspec.Struct, frozen=True, tag="data"):
    """Directories that the service fills, and that were missing before."""

    phase: int
    paths: tuple[str, ...]


class UndoEnvironment(msgspec.Struct, frozen=True, tag="environment"):
    """Remove the environment, or, if it was there before, the packages that are new in it."""

    phase: int
    directory: str
    python: str
    packages: tuple[str, ...] | None = None
    made: tuple[str, ...] = ()


class UndoVersions(msgspec.Struct, frozen=True, tag="versions"):
    """Put the environment that was there before the first upgrade back in ``link``'s place, where ``original`` is
    kept, and remove the directory of versions."""

    phase: int
    link: str
    original: str
    directory: str


class UndoAccounts(msgspec.Struct, frozen=True, tag="accounts"):
    """Remove the accounts that were made. ``groups``: those made for accounts that were there before."""

    phase: int
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()


class UndoDirectories(msgspec.Struct, frozen=True, tag="directories"):
    """Remove the directories that were made, if they are empty."""

    phase: int
    paths: tuple[str, ...]


class UndoUnits(msgspec.Struct, frozen=True, tag="units"):
    """systemd reads its units again; those that ran with their former file are restarted with it."""

    phase: int
    restarted: tuple[str, ...] = ()


class UndoEnable(msgspec.Struct, frozen=True, tag="enable"):
    """Disable and stop the units that were not enabled and not active before."""

    phase: int
    disabled: tuple[str, ...]
    stopped: tuple[str, ...]


class UndoNginx(msgspec.Struct, frozen=True, tag="nginx"):
    """nginx takes its former configuration up again, or is stopped if it did not run."""

    phase: int
    test: tuple[str, ...]
    reload: tuple[str, ...]
    was_active: bool


class UndoCertificate(msgspec.Struct, frozen=True, tag="certificate"):
    """Remove the certificate that was obtained, and the site that answered the challenge.

    ``own``: what was made for it; ``shared``: for all certificates of its client, kept if ``others`` matches a file;
    ``made``: directories, removed if they are empty; ``challenge``: of ``own``, the answers to the challenge;
    ``is_issued``: the pair is there and whole, so a failure after that leaves it."""

    phase: int
    site: str
    own: tuple[str, ...]
    shared: tuple[str, ...] = ()
    others: str | None = None
    made: tuple[str, ...] = ()
    challenge: str = ""
    is_issued: bool = False


class UndoDrain(msgspec.Struct, frozen=True, tag="drain"):
    """Wait until nginx's workers that know the new service have ended."""

    phase: int
    file: str
    seconds: float


class UndoRetire(msgspec.Struct, frozen=True, tag="retire"):
    """Start the former service again, and wait until it answers. If it does not, nothing further is undone."""

    phase: int
    former: FormerService
    seconds: float


Undo = (
    UndoFile
    | UndoLink
    | UndoData
    | UndoEnvironment
    | UndoVersions
    | UndoAccounts
    | UndoDirectories
    | UndoUnits
    | UndoEnable
    | UndoNginx
    | UndoCertificate
    | UndoDrain
    | UndoRetire
)


class Record(msgspec.Struct, frozen=True):
    """What is installed, and how all of it is undone. ``run``: the run that wrote it."""

    run: str
    undo: tuple[Undo, ...]
    version: int = 1

    def digest(self, path: str) -> str | None:
        """The SHA-256 of the content that was installed at ``path``; None for a file that was not."""
        return next(
            (item.digest for item in self.undo if isinstance(item, UndoFile) and item.path == path), None
        )


def merged(record: Record | None, run: str, undo: tuple[Undo, ...]) -> Record:
    """The record after a further run: what was before the first one stays the state to go back to."""
    items: dict[tuple[str, ...], Undo] = {_key(item): item for item in record.undo} if record else {}
    for item in undo:
        before = items.get(_key(item))
        items[_key(item)] = item if before is None else _joined(before, item)
    return Record(run, tuple(sorted(items.values(), key=lambda item: item.phase)))


def _key(item: Undo) -> tuple[str, ...]:
    name = type(item).__name__
    if isinstance(item, UndoFile | UndoLink):
        return name, item.path
    return name, str(item.phase)


def _joined(before: Undo, item: Undo) -> Undo:
    """``before`` undoes the first run; of ``item`` only what the first run did not have is added."""
    match before, item:
        case UndoFile(), UndoFile():
            return msgspec.structs.replace(before, digest=item.digest, made=_both(before.made, item.made))
        case UndoLink(), UndoLink():
            return msgspec.structs.replace(before, target=item.target, made=_both(before.made, item.made))
        case UndoData(), UndoData():
            return msgspec.structs.replace(before, paths=_both(before.paths, item.paths))
        case UndoDirectories(), UndoDirectories():
            return msgspec.structs.replace(before, paths=_both(before.paths, item.paths))
        case UndoAccounts(), UndoAccounts():
            return msgspec.structs.replace(
                before, names=_both(before.names, item.names), groups=_both(before.groups, item.groups)
            )
        case UndoEnable(), UndoEnable():
            return msgspec.structs.replace(
                before,
                disabled=_both(before.disabled, item.disabled),
                stopped=_both(before.stopped, item.stopped),
            )
        case UndoCertificate(), UndoCertificate():
            return msgspec.structs.replace(
                before,
                own=_both(before.own, item.own),
                shared=_both(before.shared, item.shared),
                made=_both(before.made, item.made),
            )
        case _:
            return before


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))
