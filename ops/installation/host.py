"""The host that is installed on: everything that looks at it or changes it, each change in one small method.

``root``: the tree below which files are put. Programs are run only where that is the host's own ``/``."""

from __future__ import annotations

import contextlib
import errno
import grp
import http.client
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ops.archive.name import parse_name
from ops.control.restart import SYSTEMD_RUNS
from ops.deployment.install import keep_copy, validate
from ops.deployment.render import DeploymentKind, RenderedFile
from ops.errors import OpsError
from ops.files.atomic_file import flush_directory, taking_its_name
from ops.files.child import end_with_us
from ops.files.nofollow_tree import exchange_names
from ops.files.programs import refused_program, trusted_program
from ops.installation.environment import copy_environment
from ops.installation.former import (
    answers,
    end_former,
    retirement,
    start_former,
    wait_for_former_workers,
    why_silent,
)
from ops.installation.http import body_at, status_at
from ops.installation.steps import Directory, FormerService
from ops.installation.store import LOCK_VARIABLE, InstallStore
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

COMMAND_SECONDS = 120.0
# Packages are fetched and unpacked; torch alone is 200 MB.
PACKAGES_SECONDS = 1800.0
# An authority looks from several places, and may ask a client to come back later.
ISSUE_SECONDS = 300.0
# The first backup, with its copies on other hosts.
BACKUP_SECONDS = 900.0
# nginx has replaced its workers.
TAKEN_UP_SECONDS = 15.0
_POLL_SECONDS = 0.2
_EMPTY_SECONDS = 30.0
# Ends with 0 exactly where the environment's packages satisfy the requirement in argv, their own requirements included.
_SATISFIES = """
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from packaging.requirements import Requirement
pending, done = [Requirement(sys.argv[1])], set()
while pending:
    wanted = pending.pop()
    if str(wanted) in done:
        continue
    done.add(str(wanted))
    try:
        if not wanted.specifier.contains(version(wanted.name), prereleases=True):
            sys.exit(1)
    except PackageNotFoundError:
        sys.exit(1)
    for line in requires(wanted.name) or ():
        further = Requirement(line)
        if further.marker is None or any(
            further.marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}
        ):
            pending.append(further)
"""
# Of gte-ops, what an environment may have beside the toolkit.
EXTRAS = ("service", "embedded", "model", "mcp")
_VERSION = "from importlib.metadata import version; print(version('gte-ops'))"
_VERSIONS = (
    "from importlib.metadata import distributions as d\nfor x in d(): print(x.metadata['Name'], x.version)"
)
_EXTRAS = """
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from packaging.requirements import Requirement
def has(line):
    needed = Requirement(line)
    if needed.name == "gte-ops":
        return True
    try:
        return needed.specifier.contains(version(needed.name), prereleases=True)
    except PackageNotFoundError:
        return False
def own(extra):
    for line in requires("gte-ops") or ():
        marker = Requirement(line).marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            yield line
for extra in sys.argv[1:]:
    lines = list(own(extra))
    if lines and all(map(has, lines)):
        print(extra)
"""
_PACKAGES = (
    "from importlib.metadata import distributions as d; print(*sorted({x.metadata['Name'] for x in d()}))"
)


class StepError(OpsError):
    """A step failed. ``exit_code`` 2: refused; everything that was done before it is undone."""

    exit_code = 2


class HostTree:
    """A host, or a tree of one below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def is_running(self) -> bool:
        """Whether the tree is this running host's own, so that its programs may be run."""
        return self.root == Path("/")

    @property
    def has_systemd(self) -> bool:
        """Whether systemd is the running host's process 1 (sd_booted(3))."""
        return self.is_running and SYSTEMD_RUNS.is_dir()

    def place(self, path: str) -> Path:
        """Where ``path`` is below the root."""
        return self.root / path.lstrip("/")

    # --- files --------------------------------------------------------------------------------------------------------

    def missing_directories(self, path: Path) -> tuple[str, ...]:
        """The directories that would have to be made for a file at ``path``, the topmost first."""
        missing = []
        for above in path.parents:
            if os.path.lexists(above):
                break
            missing.append(str(above))
        return tuple(reversed(missing))

    def put(self, path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Put a file in place, whole or not at all. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}~")) as out:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(out.fileno(), *owner)
            os.fchmod(out.fileno(), mode)
            out.write(content)

    def set_modified(self, path: Path, modified_ns: int) -> None:
        """Give a file that was put back its former time. Raises OSError."""
        os.utime(path, ns=(modified_ns, modified_ns))

    def remove(self, path: Path) -> None:
        """Remove a file or a link. Raises OSError."""
        path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            flush_directory(path.parent)

    def link(self, path: Path, target: str) -> None:
        """Put a link in place of what is there. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary = path.with_name(f".{path.name}.{os.getpid()}~")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
        flush_directory(path.parent)

    def exchange(self, path: Path, other: Path) -> None:
        """Exchange two paths at one instant. Raises OSError."""
        exchange_names(path, other)
        for above in dict.fromkeys((path.parent, other.parent)):
            flush_directory(above)

    def keep_edited(self, path: Path) -> str:
        """Copy an edited file beside itself, and return the copy's path. Raises OSError."""
        return str(keep_copy(path, hidden=True))

    def make_directory(self, directory: Directory) -> None:
        """Make a directory with its mode and owner. Raises OSError; KeyError for an unknown owner."""
        path = self.place(directory.path)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(directory.mode)
        if self.is_running:
            os.chown(path, pwd.getpwnam(directory.user).pw_uid, grp.getgrnam(directory.group).gr_gid)

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Remove those of ``paths`` that are empty, the last one first."""
        for path in reversed(paths):
            with contextlib.suppress(OSError):
                Path(path).rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all that is in it. Raises OSError."""
        deadline = time.monotonic() + _EMPTY_SECONDS
        while not path.is_symlink() and path.is_dir():
            try:
                shutil.rmtree(path)
            except OSError as error:
                # What a program of a killed run started may write for another moment.
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)

    def validate(self, kind: DeploymentKind, files: Sequence[RenderedFile], *, is_final: bool) -> None:
        """Have the files' own program test them. ``is_final``: accounts and programs that they name exist by now.

        Raises RefusedError."""
        validate(kind, files, on_host=is_final and self.is_running)

    def free_bytes(self, path: Path) -> tuple[Path, int | None]:
        """The directory in which ``path`` would be, or the nearest above it that is there, and what may be written
        there; 0 without a free inode, None if that is not known."""
        above = next(directory for directory in path.parents if directory.is_dir())
        try:
            found = os.statvfs(above)
        except OSError:
            return above, None
        has_inodes = found.f_files == 0 or found.f_favail > 0
        return above, found.f_bavail * found.f_frsize if has_inodes else 0

    # --- programs -----------------------------------------------------------------------------------------------------

    def run(
        self,
        *command: str,
        seconds: float = COMMAND_SECONDS,
        variables: Sequence[tuple[str, str]] = (),
        allowed: Sequence[int] = (0,),
        descriptors: Sequence[int] = (),
    ) -> None:
        """Run a program. ``variables``: of its environment; ``allowed``: exit codes that are no failure;
        ``descriptors``: what it inherits. Raises StepError with the line that tells why."""
        ran = self._ran(command, seconds, dict(variables), descriptors)
        if ran.returncode not in allowed:
            raise _failed(command, _reason(ran.stderr + ran.stdout) or f"exit code {ran.returncode}")

    def has_program(self, name: str) -> bool:
        """Whether a program is on the path, and root's alone."""
        return trusted_program(name) is not None

    def _asks(self, *command: str) -> str:
        """What a program prints, whatever its exit code; nothing where it is missing."""
        try:
            return self._ran(command, COMMAND_SECONDS).stdout.strip()
        except StepError:
            return ""

    def _ran(
        self,
        command: Sequence[str],
        seconds: float,
        variables: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        program = trusted_program(command[0])
        if program is None:
            raise _failed(command, refused_program(command[0]) or "it is not installed")
        try:
            with subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                # A Python imports nothing of the current directory: a checkout there holds another version's metadata.
                env=os.environ | {"PYTHONSAFEPATH": "1"} | (variables or {}),
                start_new_session=True,
                preexec_fn=end_with_us(),
                pass_fds=descriptors,
            ) as process:
                try:
                    output, errors = process.communicate(timeout=seconds)
                except BaseException:
                    os.killpg(process.pid, signal.SIGKILL)  # with the programs that it started
                    raise
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(command, str(error)) from None
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    # --- units and nginx ----------------------------------------------------------------------------------------------

    def is_enabled(self, unit: str) -> bool:
        """Whether a unit starts at boot."""
        return self._asks("systemctl", "is-enabled", unit) in ("enabled", "static", "alias", "linked")

    def is_active(self, unit: str) -> bool:
        """Whether a unit runs, or is on its way."""
        return self._asks("systemctl", "is-active", unit) in ("active", "activating", "reloading")

    def property(self, unit: str, name: str) -> str:
        """One property of a unit (systemctl show)."""
        return self._asks("systemctl", "show", "--value", f"--property={name}", unit)

    def needs_reload(self, units: Sequence[str]) -> bool:
        """Whether systemd knows other files of these units than those on disk."""
        return (
            "yes" in self._asks("systemctl", "show", "--value", "--property=NeedDaemonReload", *units).split()
        )

    def journal_line(self, unit: str) -> str:
        """The last line of a unit's journal."""
        return self._asks("journalctl", "--no-pager", "--output=cat", "--lines=1", f"--unit={unit}")

    def nginx_runs(self) -> bool:
        """Whether nginx runs."""
        if self.has_systemd:
            return self.is_active("nginx.service")
        return bool(self._asks("pgrep", "-x", "nginx"))

    def has_backup(self, directory: str) -> bool:
        """Whether a backup is in ``directory``."""
        place = self.place(directory)
        return place.is_dir() and any(parse_name(path.name) is not None for path in place.iterdir())

    # --- accounts -----------------------------------------------------------------------------------------------------

    def has_account(self, name: str) -> bool:
        """Whether there is such a user."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            return False
        return True

    def has_group(self, name: str) -> bool:
        """Whether there is such a group."""
        try:
            grp.getgrnam(name)
        except KeyError:
            return False
        return True

    def login_of(self, name: str) -> tuple[str, str] | None:
        """Shell and home of an account that a person may log in to, else None."""
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            return None
        shell = account.pw_shell or "/bin/sh"  # passwd(5)
        return None if Path(shell).name in ("nologin", "false") else (shell, account.pw_dir)

    def remove_account(self, name: str) -> None:
        """Remove an account and its group. Raises StepError."""
        if self.has_account(name):
            self.run("userdel", name)
        self.remove_group(name)

    def remove_group(self, name: str) -> None:
        """Remove a group. Raises StepError."""
        if self.has_group(name):
            self.run("groupdel", name)

    # --- the environment ----------------------------------------------------------------------------------------------

    def satisfies(self, python: str, requirement: str) -> bool:
        """Whether the environment of ``python`` has ``requirement`` and all that it requires."""
        if not os.access(python, os.X_OK):
            return False
        try:
            return self._ran((python, "-c", _SATISFIES, requirement), COMMAND_SECONDS).returncode == 0
        except StepError:
            return False

    def packages(self, python: str) -> tuple[str, ...]:
        """The packages in the environment of ``python``; none where it does not exist."""
        return tuple(self._asks(python, "-c", _PACKAGES).split()) if os.access(python, os.X_OK) else ()

    def build_environment(self, directory: Path, requirement: str, wheels: Path | None) -> None:
        """Make a Python environment with ``requirement``, from ``wheels`` instead of an index if given. Raises
        StepError."""
        self.run("python3", "-m", "venv", str(directory), seconds=PACKAGES_SECONDS)
        pip = (f"{directory}/bin/python3", "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        source = ("--no-index", "--find-links", str(wheels)) if wheels else ()
        self.run(*pip, *source, requirement, seconds=PACKAGES_SECONDS)

    def copy_environment(self, source: Path, target: Path) -> None:
        """Copy an environment, so that it runs from ``target``: files as hard links, scripts with the new path. Raises
        OSError."""
        copy_environment(source, target)

    def version(self, environment: Path) -> str:
        """The version of gte-ops in an environment; nothing if it has none."""
        return self._asks(f"{environment}/bin/python3", "-c", _VERSION)

    def extras(self, environment: Path) -> tuple[str, ...]:
        """The extras of gte-ops that an environment satisfies."""
        return tuple(self._asks(f"{environment}/bin/python3", "-c", _EXTRAS, *EXTRAS).split())

    def versions_of_packages(self, environment: Path) -> dict[str, str]:
        """Each package of an environment with its version."""
        words = self._asks(f"{environment}/bin/python3", "-c", _VERSIONS).split()
        return dict(zip(words[::2], words[1::2], strict=False))

    def resolved(self, environment: Path, requirement: str, wheels: Path | None) -> dict[str, str]:
        """The packages that ``requirement`` would bring, with their versions; nothing is installed. Raises
        StepError."""
        source = ("--no-index", "--find-links", str(wheels)) if wheels else ()
        command = (
            *(f"{environment}/bin/python3", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
            *("--dry-run", "--ignore-installed", "--report", "-", *source, requirement),
        )
        ran = self._ran(command, PACKAGES_SECONDS)
        if ran.returncode:
            raise _failed(command, _reason(ran.stderr) or f"exit code {ran.returncode}")
        try:
            report = msgspec.json.decode(ran.stdout)
            items = [item["metadata"] for item in report["install"]]
            return {str(item["name"]): str(item["version"]) for item in items}
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise _failed(command, str(error)) from None

    def packages_place(self, environment: Path) -> Path:
        """The directory of an environment's packages. Raises StepError if it has none."""
        place = next(iter(sorted(environment.glob("lib/python3*/site-packages"))), None)
        if place is None:
            raise _failed((str(environment),), "no lib/python3*/site-packages")
        return place

    def unpack(self, python: Path, requirement: str, wheels: Path | None, directory: Path) -> None:
        """Have pip put the code of ``requirement``, not what it requires, into ``directory``. Raises StepError."""
        source = ("--no-index", "--find-links", str(wheels)) if wheels else ()
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        into = ("--no-deps", "--no-compile", "--target", str(directory))
        self.run(*pip, *into, *source, requirement, seconds=PACKAGES_SECONDS)

    def planned_install(self, python: Path, packages: Path, settings_file: str) -> str:
        """The answer of `gte-ops install --dry-run` as JSON, by the code in ``packages``. Raises StepError."""
        # -P: the directory that this was started in is nobody's to import from.
        command = (str(python), "-P", "-m", "ops.cli", "install", "--config", settings_file, "--keep-running")
        variables = {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = self._ran((*command, "--dry-run", "--format", "json"), COMMAND_SECONDS, variables)
        if ran.returncode not in (0, 1):  # 1: a file that was edited by hand is among them
            raise _failed(command, _reason(ran.stderr) or f"exit code {ran.returncode}")
        return ran.stdout

    def install_files(self, program: Path, settings_file: str, store: InstallStore) -> None:
        """Have another version's own `install` put its files in place, as part of the run that holds the lock of
        ``store``, without a restart of the service. Raises StepError."""
        inherited = () if store.lock is None else (store.lock,)
        command = (str(program), "install", "--config", settings_file, "--keep-running")
        # 1: files that were edited by hand are left alone.
        self.run(
            *command,
            seconds=PACKAGES_SECONDS,
            variables=tuple((LOCK_VARIABLE, str(lock)) for lock in inherited),
            allowed=(0, 1),
            descriptors=inherited,
        )

    # --- a former service ---------------------------------------------------------------------------------------------

    def retirement(self, service: FormerService) -> list[tuple[str, ...]]:
        """The commands that end a former service; none if it has ended."""
        return retirement(service)

    def drain(self, file: str, seconds: float) -> None:
        """Wait until nginx's workers from before the last change of ``file`` have ended, for at most ``seconds``."""
        wait_for_former_workers(self.place(file), seconds)

    def retire(self, service: FormerService) -> None:
        """End the former service. Raises StepError if it does not end, or something starts it again."""
        if service.unit is not None:
            self.run("systemctl", "disable", service.unit)
            self.run("systemctl", "stop", service.unit)
        if (why := end_former(service)) is not None:
            raise StepError(why)

    def bring_back(self, service: FormerService, seconds: float) -> None:
        """Start the former service, unless it runs, and wait until it answers. Raises StepError, RestartError."""
        if service.unit is not None and service.is_enabled:
            self.run("systemctl", "enable", service.unit)
        if not answers(service.address):
            if service.unit is not None:
                self.run("systemctl", "start", service.unit)
            else:
                start_former(service)
        if (why := why_silent(service.address, seconds)) is not None:
            raise StepError(why)

    # --- readiness ----------------------------------------------------------------------------------------------------

    def wait_until_ready(
        self, address: str, path: str, seconds: float, domain: str | None, payload: str | None = None
    ) -> str | None:
        """Wait until the service answers 200 there (with ``domain``: through nginx over TLS; with ``payload``: to JSON
        that is posted); None once it does, else what it answered last."""
        deadline = time.monotonic() + seconds
        last_answer = "no answer"
        while True:
            try:
                status = status_at(address, path, domain, payload)
            except (OSError, http.client.HTTPException) as error:
                last_answer = str(error) or type(error).__name__
            else:
                if status == 200:
                    return None
                last_answer = f"HTTP {status}"
            if time.monotonic() > deadline:
                return last_answer
            time.sleep(_POLL_SECONDS)

    def serves(
        self, address: str, domain: str, path: str, content: str, seconds: float = TAKEN_UP_SECONDS
    ) -> bool:
        """Whether nginx answers a request for ``domain`` at ``address`` with ``content``, within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if body_at(address, path, domain) == content.encode():
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)


def _reason(output: str) -> str:
    """The line of a program's output that tells why it failed: an authority's own words, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    details = [line.removeprefix("Detail: ") for line in lines if line.startswith("Detail: ")]
    return next(iter(details or lines[-1:]), "")


def _failed(command: Sequence[str], why: str) -> StepError:
    words = " ".join(command[:8])
    return StepError(
        Text(
            en=f"{safe_line(words, 200)}: {safe_line(why, 300)}",
            zh=f"{safe_line(words, 200)}：{chinese(safe_line(why, 300))}",
        )
    )
