"""Find the processes of this service's gunicorn, and read its command line and configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.target import Target
from ops.files.ownership import ROOT
from ops.interpret.address import same_address
from ops.interpret.authority import Standing, may_name, standing

DEFAULT_BIND = "127.0.0.1:8000"
_SHORT = {"-c": "config", "-b": "bind", "-p": "pid", "-w": "workers", "-k": "worker-class", "-t": "timeout"}


def is_gunicorn(process: Process) -> bool:
    """Whether a process is a gunicorn master or worker, by its command line or its title from setproctitle."""
    command = process.command
    if not command:
        return process.name.startswith("gunicorn")
    if command[0].startswith("gunicorn:"):
        return True
    program, *words = [PurePosixPath(word).name for word in command[:6]]
    # Only an interpreter runs a script: `journalctl -fu gunicorn` and `grep gunicorn` are the operator's.
    return program == "gunicorn" or (program.startswith(("python", "pypy")) and "gunicorn" in words)


# The commands of servers for Python applications other than gunicorn.
_APPLICATION_SERVERS = frozenset(
    {"daphne", "granian", "hypercorn", "uvicorn", "uwsgi", "uwsgi-core", "waitress-serve"}
)


def server_of_command(command: Sequence[str]) -> str | None:
    """Return the server of Python applications, other than gunicorn, that a command line runs; None if it is none."""
    program, *words = [PurePosixPath(word).name for word in command[:6]]
    names = (program, *words) if program.startswith(("python", "pypy")) else (program,)
    return next((name for name in names if name in _APPLICATION_SERVERS), None)


def application_server(processes: Processes, process: Process) -> str | None:
    """Return the server of Python applications, other than gunicorn, that a process belongs to; None if it is none. The
    parents' command lines count too, because multiprocessing starts the workers of these servers."""
    here: Process | None = process
    for _ in range(3):
        if here is None or is_gunicorn(here):
            return None
        program, *words = [PurePosixPath(word).name for word in here.command[:6]] or [here.name]
        programs = (program, *words) if program.startswith(("python", "pypy")) else (program,)
        if server := next((word for word in programs if word in _APPLICATION_SERVERS), None):
            return server
        here = process_of(processes, here.ppid)
    return None


def gunicorn_masters(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Return the gunicorn processes with a parent that is not gunicorn, without zombies."""
    everyone = tuple(processes)
    ours = {p.pid for p in everyone if is_gunicorn(p)}
    return tuple(p for p in everyone if p.pid in ours and p.ppid not in ours and p.state != "zombie")


def workers_of(processes: Iterable[Process], master: int) -> tuple[Process, ...]:
    """Return the living gunicorn children of a master."""
    return tuple(p for p in processes if p.ppid == master and p.state != "zombie" and is_gunicorn(p))


def process_of(processes: Processes, pid: int | None) -> Process | None:
    """Return the process ``pid``; None if it was not seen."""
    return next((p for p in processes.processes if p.pid == pid), None)


def arguments(master: Process | None) -> tuple[str, ...]:
    """Return a master's GUNICORN_CMD_ARGS, then its command line, which takes precedence (gunicorn: configuration
    overview). Empty if it runs in a container, because its paths are not this host's."""
    if master is None or master.is_nested or master.has_other_root:
        return ()
    try:
        environment_arguments = shlex.split((master.environment or {}).get("GUNICORN_CMD_ARGS", ""))
    except ValueError:  # an unclosed quotation: gunicorn would not have started with it
        environment_arguments = []
    return (*environment_arguments, *master.command)


def wsgi(master: Process | None) -> str | None:
    """Return the application on a master's command line, ``package.module:name``; None if it has none."""
    last = master.command[-1] if master and master.command else ""
    module, colon, _ = last.partition(":")
    return last if colon and all(part.isidentifier() for part in module.split(".")) else None


# Options that a unit must not have: systemd does this itself.
_AS_DAEMON = ("-D", "--daemon")


def started_arguments(master: Process | None) -> tuple[str, ...]:
    """Return GUNICORN_CMD_ARGS and the arguments after gunicorn's name on a master's command line, without the options
    that make it a daemon. Empty if the command line is only a title (setproctitle)."""
    words = () if master is None else master.command
    place = next((n for n, word in enumerate(words[:6]) if PurePosixPath(word).name == "gunicorn"), None)
    if place is None:
        return ()
    environment_arguments = arguments(master)[: -len(words)]
    return tuple(word for word in (*environment_arguments, *words[place + 1 :]) if word not in _AS_DAEMON)


def interpreter(master: Process) -> str | None:
    """Return the path of the interpreter on a master's command line; None if it has none. In a virtual environment this
    is the environment's own, while the link in /proc leads to the one that it was made from."""
    word = master.command[0] if master.command else ""
    return word if word.startswith("/") and PurePosixPath(word).name.startswith(("python", "pypy")) else None


def options(command: tuple[str, ...]) -> dict[str, str]:
    """Return the options on a gunicorn command line by their long names. The last of several counts."""
    values: dict[str, str] = {}
    for index, word in enumerate(command):
        following = command[index + 1] if index + 1 < len(command) else ""
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values[name] = value if equals else following
        elif word in _SHORT:
            values[_SHORT[word]] = following
        elif word[:2] in _SHORT and len(word) > 2 and not word.startswith("--"):
            values[_SHORT[word[:2]]] = word[2:].lstrip("=")
    return values


def worker_class(master: Process | None, config: GunicornConfig | NotSeen | None) -> str | None:
    """Return a master's configured worker class, a name of gunicorn's or a dotted path; None if it is the default or is
    not known."""
    value = setting("worker_class", "worker-class", arguments(master), config)
    return value if isinstance(value, str) and value else None


class Hints(msgspec.Struct, frozen=True):
    """The known facts for finding this service's gunicorn; None for those that are not configured.

    ``pidfile_read``: the pidfile that was read, configured or not; ``pidfile_uid``: its owner; ``pidfile_is_own``:
    whether the process in it is configured to write this file, None if that is not known; ``config_files`` and
    ``app_dirs``: as configured, and with links resolved; ``owners``: the owners of these files; ``accounts``: the users
    that the service runs as, empty if they are not known; ``unit``: its system unit."""

    bind: str | None = None
    pidfile: str | None = None
    pidfile_read: str | None = None
    pidfile_pid: int | None = None
    pidfile_uid: int = 0
    pidfile_is_own: bool | None = None
    config_files: tuple[str, ...] = ()
    app_dirs: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    owners: tuple[int, ...] = ()
    accounts: tuple[int, ...] = ()
    unit: str | None = None


def find_master(processes: Processes, hints: Hints) -> Process | None:
    """Return this service's master among all gunicorns of the machine; None if it is not found.

    In order: the one in the service's unit; the pidfile's process, if it is the service's (`belongs`); one started
    with the configured file; one that listens at the service's address or at one that nginx proxies to; one that runs
    in the application's directory; without any of these hints, the only one that the pidfile does not exclude.

    The command line and directory of a process count if it is root's, the caller's, or a user's that owns the service's
    files or runs the service. Listeners come from the kernel, but any user may listen at a free address: another
    user's gunicorn counts by its address if the service runs as that user, or if its file or directory is the
    service's (`_may_serve`). A container counts only by its address: its paths are not this host's. A set-user-ID
    program never counts: any user may choose its arguments."""
    masters = [m for m in gunicorn_masters(processes.processes) if not m.is_setuid]
    by_pid = {m.pid: m for m in masters if _may_serve(m, hints, processes.caller)}
    accounts = {processes.caller, ROOT, *hints.owners, *hints.accounts}
    here = [m for m in masters if standing(m, processes.caller) is not Standing.CONTAINER]
    ours = [m for m in here if m.uid is None or m.uid in accounts]
    supervised = [m for m in here if hints.unit is not None and m.unit == hints.unit]
    if len(supervised) == 1:
        return supervised[0]
    pidfile_master = pidfile_process(processes, hints)
    if pidfile_master is not None and belongs(processes, pidfile_master, hints):
        return pidfile_master
    for master in ours:
        if config_path(master) in hints.config_files:
            return master
    for address in filter(None, (hints.bind, *hints.upstreams)):
        for listener in processes.listeners:
            if same_address(listener.address, address):
                for pid in listener.pids:
                    if pid in by_pid:
                        return by_pid[pid]
                    parent = next((p.ppid for p in processes.processes if p.pid == pid), None)
                    if parent in by_pid:
                        return by_pid[parent]
    inside = [m for m in ours if m.cwd in hints.app_dirs and _agrees(processes, m, hints)]
    if len(inside) == 1:
        return inside[0]
    if any((hints.bind, hints.pidfile, hints.config_files, hints.app_dirs)):
        return None
    candidates = [m for m in here if m is not pidfile_master and _may_serve(m, hints, processes.caller)]
    return candidates[0] if len(candidates) == 1 else None


def other_masters(processes: Processes, hints: Hints) -> tuple[int, ...]:
    """Return the gunicorn masters that cannot be this service's, at any address."""
    return tuple(
        m.pid
        for m in gunicorn_masters(processes.processes)
        if m.is_setuid or not _may_serve(m, hints, processes.caller)
    )


def _may_serve(master: Process, hints: Hints, caller: int) -> bool:
    """Whether a gunicorn that listens at the service's address may be the service's."""
    if master.uid is None or master.uid in (ROOT, caller, *hints.owners, *hints.accounts):
        return True
    if hints.accounts:
        return False
    if not hints.config_files and not hints.app_dirs:
        return True
    return config_path(master) in hints.config_files or master.cwd in hints.app_dirs


def pidfile_process(processes: Processes, hints: Hints) -> Process | None:
    """Return the gunicorn master with the pid in the pidfile, of any user; None if there is none."""
    return next((m for m in gunicorn_masters(processes.processes) if m.pid == hints.pidfile_pid), None)


def belongs(processes: Processes, master: Process, hints: Hints) -> bool:
    """Whether the pidfile's process is this service's: its pid may have become another gunicorn's.

    False for a container, for a set-user-ID program, and if the pidfile is another user's. The first known fact
    decides: whether the process is configured to write this pidfile, the file it was started with, the address it
    listens at, the directory it runs in. True if none of them is known."""
    if standing(master, processes.caller) is Standing.CONTAINER or master.is_setuid:
        return False
    if master.uid is not None and not may_name(hints.pidfile_uid, master.uid, processes.caller):
        return False
    if hints.pidfile_is_own is not None:
        return hints.pidfile_is_own
    return _agrees(processes, master, hints)


def _agrees(processes: Processes, master: Process, hints: Hints) -> bool:
    """Whether the first known fact about a process is the service's: the file it was started with, its address, its
    directory. The file or address distinguishes two instances in one directory."""
    started_with = config_path(master)
    if hints.config_files and started_with is not None:
        return started_with in hints.config_files
    workers = workers_of(processes.processes, master.pid)
    listening = listening_on(processes, (master.pid, *(w.pid for w in workers)))
    if hints.bind and listening:
        return any(same_address(address, hints.bind) for address in listening)
    if hints.app_dirs and master.cwd is not None:
        return master.cwd in hints.app_dirs
    return True


def config_path(master: Process) -> str | None:
    """Return the absolute configuration file of a master's command line, default gunicorn.conf.py in its directory."""
    file = options(arguments(master)).get("config")
    if file and not file.startswith("python:"):
        return str(PurePosixPath(master.cwd or "/") / file.removeprefix("file:"))
    return str(PurePosixPath(master.cwd) / "gunicorn.conf.py") if master.cwd and not file else None


def config_of_command(command: str | Sequence[str], directory: str | None) -> str | None:
    """Return the absolute configuration file that a start command names for gunicorn; None if it names none.

    ``directory``: the directory it starts in."""
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError:
        return None
    if not any(PurePosixPath(word).name == "gunicorn" for word in words):
        return None
    file = options(words).get("config")
    if not file or file.startswith("python:"):
        return None
    path = PurePosixPath(directory or "/") / file.removeprefix("file:")
    return str(path) if directory or file.startswith("/") else None


def setting(name: str, option: str, command: tuple[str, ...], config: GunicornConfig | NotSeen | None) -> Any:
    """Return one of gunicorn's settings, from the command line or else from the file; None if it is not known."""
    on_line = options(command).get(option)
    if on_line:
        return on_line
    if not isinstance(config, GunicornConfig) or name not in config.assigned:
        return None
    return config.assigned[name].value


def bind_addresses(value: Any) -> tuple[str, ...]:
    """Return gunicorn's ``bind``, a list or comma-separated string, as ``ip:port`` or ``unix:/path`` addresses."""
    items = value if isinstance(value, list) else str(value).split(",") if value else []
    return tuple(filter(None, (normal_bind(str(item).strip()) for item in items if str(item).strip())))


def normal_bind(bind: str) -> str:
    """Return one bind address in the form of listeners' addresses. Default port 8000 (gunicorn: settings, bind).

    Empty for ``fd://3``: the process that opened the socket chose its address."""
    if bind.startswith("fd://"):
        return ""
    bind = bind.removeprefix("tcp://").removeprefix("http://")
    if bind.startswith("unix:"):
        return "unix:" + bind.removeprefix("unix:").removeprefix("//")
    if bind.startswith(":"):
        bind = "0.0.0.0" + bind  # noqa: S104
    host, colon, port = bind.rpartition(":")
    if not colon or bind.endswith("]"):
        host, port = bind, "8000"
    host = "127.0.0.1" if host == "localhost" else host
    return f"{host}:{port}"


def listening_on(processes: Processes, pids: Iterable[int]) -> tuple[str, ...]:
    """Return the addresses any of ``pids`` listens on."""
    owners = set(pids)
    return tuple(item.address for item in processes.listeners if owners.intersection(item.pids))


def holder(processes: Processes, address: str) -> tuple[Process, ...]:
    """Return the processes that listen at an address; empty if none does or they were not seen."""
    pids = {pid for item in processes.listeners if same_address(item.address, address) for pid in item.pids}
    return tuple(p for p in processes.processes if p.pid in pids)


def belongs_to(process: Process, target: Target) -> bool:
    """Whether a process is this service's gunicorn; if the master is not known, any gunicorn that may be it."""
    if target.gunicorn_master is None:
        return is_gunicorn(process) and not {process.pid, process.ppid} & set(target.other_gunicorns)
    return target.gunicorn_master in (process.pid, process.ppid)


def foreign_holders(processes: Processes, target: Target) -> tuple[Process, ...]:
    """Return the processes at the service's address if all are foreign. systemd (pid 1) holds it for the service."""
    owners = holder(processes, target.backend)
    return () if any(belongs_to(p, target) or p.pid == 1 for p in owners) else owners


def is_listening(processes: Processes, address: str) -> bool:
    """Whether any process listens there, even one that was not seen."""
    return any(same_address(item.address, address) for item in processes.listeners)
