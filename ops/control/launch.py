"""Remember how the service was started, while it runs: environment, directory, user, umask and limits.

A service started from cron or by hand under another environment is another service: without ``GTE_API_KEYS_FILE`` it
answers everybody. The file is beside the watchdog's state, readable by its owner alone, and holds secrets: only the
names of its variables are ever shown.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ops.collect.process.process_status import process_status
from ops.control.account import UserAccount, as_account
from ops.files.atomic_file import write_atomically
from ops.files.bounded_read import read_regular_file
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings

VERSION = 1
# Linux: arguments and environment together take at most a quarter of the stack, by default 2 MiB (execve(2)).
MAX_ENVIRONMENT_BYTES = 2 << 20
MAX_FILE_BYTES = 4 << 20
# Set for a single start: by systemd (systemd.exec(5), environment variables in spawned processes), by gunicorn for
# the successor that USR2 starts, by a shell.
_OF_ONE_START = frozenset(
    {
        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
        "LISTEN_PIDFDID", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "MANAGERPID",
        "MANAGERPIDFDID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "CREDENTIALS_DIRECTORY", "EXIT_CODE",
        "EXIT_STATUS", "SERVICE_RESULT", "GUNICORN_PID", "GUNICORN_FD", "GUNICORN_DIRTY_SOCKET", "SERVER_SOFTWARE",
        "_", "SHLVL",
    }
)  # fmt: skip
# Of a login session, not of the service: no service needs them.
_OF_A_SESSION = re.compile(
    r"(PWD|OLDPWD|SHELL|USER|LOGNAME|MAIL|LANG|LANGUAGE|LC_\w+|TERM\w*|COLORTERM|DISPLAY|WAYLAND_DISPLAY|WINDOWID|"
    r"LINES|COLUMNS|LS_COLORS|LESS\w*|PAGER|EDITOR|VISUAL|HIST\w+|PS[0-4]|PROMPT_COMMAND|SSH_\w+|SUDO_\w+|XDG_\w+|DBUS_\w+|"
    r"GPG_\w+|STY|TMUX\w*|DEBUGINFOD_\w+|WHICH_DECLARE|BASH_FUNC_.*)\Z"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}\Z")
_NAMES_A_FILE = re.compile(r"\w_FILE\Z", re.IGNORECASE)
# Files that a service creates itself may be absent.
_OWN_FILE = re.compile(
    r"(?:\A|_)(?:PID|(?:ACCESS|ERROR)?LOG|LOCK|SOCK|SOCKET|OUT|OUTPUT|CACHE|HIST|HISTORY|STATE)_FILE\Z",
    re.IGNORECASE,
)
_DECIDES_WHO_MAY = re.compile(r"_FILE\Z|KEY|TOKEN|SECRET|PASSW|AUTH", re.IGNORECASE)
_LIMITS = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
}


class Launch(msgspec.Struct, frozen=True):
    """How one master was started. ``environment``: ``NAME=value`` as the kernel holds it; ``files``: the variables that
    named an existing file; ``limits``: soft and hard, by their names in getrlimit(2), -1 for none."""

    account: UserAccount
    cwd: str
    umask: int
    environment: tuple[bytes, ...]
    limits: dict[str, tuple[int, int]] = {}
    files: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[bytes, bytes]:
        """The environment without the variables of a single start."""
        pairs = (entry.partition(b"=") for entry in self.environment)
        return {name: value for name, _, value in pairs if os.fsdecode(name) not in _OF_ONE_START}

    @property
    def is_by_systemd(self) -> bool:
        """Whether a unit started it (systemd.exec(5): $INVOCATION_ID, since 232)."""
        return any(entry.startswith(b"INVOCATION_ID=") for entry in self.environment)


class Remembered(msgspec.Struct, frozen=True):
    """The file's content: how the service was started, and the master it was read from or that was started so since.

    ``lost``: the variables that this master lacks or has with another value, although it was started with them;
    ``other_user``: whether it runs as another user."""

    launch: Launch
    master: ProcessRef
    boot_id: str
    lost: tuple[str, ...] = ()
    other_user: bool = False
    version: int = VERSION


# --- of a process -----------------------------------------------------------------------------------------------------


def read_launch(pid: int) -> Launch | None:
    """Read how process ``pid`` was started; None if that may not be read, or the process has overwritten it.

    The environment is the process's own memory: its word counts for its own user and no other. Reading it may block
    for ever (`ops/files/time_limit.py`)."""
    status = process_status(pid)
    if status is None or status.is_nested or status.has_other_root or status.is_setuid:
        return None
    try:
        environment = _environment(_head(f"/proc/{pid}/environ", MAX_ENVIRONMENT_BYTES + 1))
        facts = _facts(_head(f"/proc/{pid}/status", 16 << 10))
        cwd = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
        limits = _limits(_head(f"/proc/{pid}/limits", 16 << 10))
        umask = int(facts["Umask"], 8) if "Umask" in facts else 0o022  # Linux 4.7
        account = UserAccount(
            uid=status.uid,
            gid=int(facts["Gid"].split()[0]),
            groups=tuple(int(word) for word in facts.get("Groups", "").split()),
        )
    except (OSError, ValueError, KeyError, IndexError):
        return None
    if environment is None or not cwd.startswith("/"):
        return None
    files = tuple(name for name, path in _named_files(environment, cwd) if os.path.isfile(path))  # noqa: PTH113  Path.is_file raises where a directory is closed
    return Launch(account, cwd, umask, environment, limits, files)


def _head(path: str, limit: int) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(limit)


def _environment(content: bytes) -> tuple[bytes, ...] | None:
    """The entries; None if the process has overwritten them: setproctitle(3) uses the space for its title and fills
    the rest with zeros, unless $SPT_NOENV is set."""
    if len(content) > MAX_ENVIRONMENT_BYTES:
        return None
    entries = tuple(content.removesuffix(b"\0").split(b"\0")) if content else ()
    return entries if all(b"=" in entry[1:] for entry in entries) else None


def _facts(content: bytes) -> dict[str, str]:
    rows = (line.partition(":") for line in content.decode(errors="replace").splitlines())
    return {name: value.strip() for name, _, value in rows}


def _limits(content: bytes) -> dict[str, tuple[int, int]]:
    limits = {}
    for line in content.decode(errors="replace").splitlines():
        for title, name in _LIMITS.items():
            if line.startswith(f"{title} "):
                soft, hard = line[len(title) :].split()[:2]
                limits[name] = (_limit(soft), _limit(hard))
    return limits


def _limit(word: str) -> int:
    return resource.RLIM_INFINITY if word == "unlimited" else int(word)


def _named_files(environment: Iterable[bytes], cwd: str) -> list[tuple[str, str]]:
    """The variables that name a file for the service to read, each with the file's path."""
    files = []
    for entry in environment:
        name, _, value = os.fsdecode(entry).partition("=")
        if value and _NAME.match(name) and _NAMES_A_FILE.search(name) and not _OWN_FILE.search(name):
            files.append((name, str(Path(cwd) / value)))
    return files


# --- what has to be the same ------------------------------------------------------------------------------------------


def missing_file(launch: Launch) -> tuple[str, str] | None:
    """A variable and its file that existed when the service was started, and that its user can no longer read; None if
    there is none."""
    for name, path in _named_files(launch.environment, launch.cwd):
        if name in launch.files and not _is_readable(path, launch.account):
            return name, path
    return None


def _is_readable(path: str, account: UserAccount) -> bool:
    def look() -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))

    if os.geteuid() == 0 and account.uid != 0:
        return as_account(account, look) is None
    try:
        look()
    except (OSError, ValueError):
        return False
    return True


def lost(before: Launch, after: Launch) -> tuple[str, ...]:
    """What a new master lacks of the one before it: names of variables that are missing, and of those with another
    value that decide who may do what."""
    now = {os.fsdecode(name): value for name, value in after.variables.items()}
    names = []
    for raw, value in before.variables.items():
        name = os.fsdecode(raw)
        if not _NAME.match(name) or _OF_A_SESSION.match(name):
            continue
        if name not in now or (_DECIDES_WHO_MAY.search(name) and now[name] != value):
            names.append(name)
    return tuple(sorted(names))


# --- the file ---------------------------------------------------------------------------------------------------------


def launch_path(settings: Settings) -> Path:
    """The path of the file, beside the watchdog's state."""
    state = Path(settings.watchdog.state_file)
    return state.with_name(f"{state.stem}-launch.json")


def load(path: Path) -> Remembered | None:
    """Read the file; None if there is none, or it cannot be read."""
    try:
        launch = msgspec.json.decode(read_regular_file(str(path), MAX_FILE_BYTES).content, type=Remembered)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return launch if launch.version == VERSION else None


def save(path: Path, launch: Remembered) -> None:
    """Write the file. Raises OSError."""
    write_atomically(path, msgspec.json.encode(launch), 0o600)


def forget(path: Path) -> bool:
    """Remove the file; whether there was one. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
