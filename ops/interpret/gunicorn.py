"""Which processes are this service's gunicorn, and what its command line and configuration say."""

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
    """Whether a process is a gunicorn master or worker, by its command line or the title setproctitle gave it."""
    command = process.command
    if not command:
        return process.name.startswith("gunicorn")
    if command[0].startswith("gunicorn:"):
        return True
    program, *words = [PurePosixPath(word).name for word in command[:6]]
    # Only an interpreter runs a script: `journalctl -fu gunicorn` and `grep gunicorn` are the operator's.
    return program == "gunicorn" or (program.startswith(("python", "pypy")) and "gunicorn" in words)


# Programs that serve Python applications and are no gunicorn, by the names of their commands.
_APPLICATION_SERVERS = frozenset(
    {"daphne", "granian", "hypercorn", "uvicorn", "uwsgi", "uwsgi-core", "waitress-serve"}
)


def application_server(processes: Processes, process: Process) -> str | None:
    """Which server of Python applications, gunicorn apart, a process belongs to: by its command line, or that of the
    process that started it (their workers are started by multiprocessing). None where it is none."""
    here: Process | None = process
    for _ in range(3):
        if here is None or is_gunicorn(here):
            return None
        program, *words = [PurePosixPath(word).name for word in here.command[:6]] or [here.name]
        named = (program, *words) if program.startswith(("python", "pypy")) else (program,)
        if server := next((word for word in named if word in _APPLICATION_SERVERS), None):
            return server
        here = process_of(processes, here.ppid)
    return None


def gunicorn_masters(processes: Iterable[Process]) -> tuple[Process, ...]:
    """The gunicorn processes whose parent is none."""
    everyone = tuple(processes)
    ours = {p.pid for p in everyone if is_gunicorn(p)}
    return tuple(p for p in everyone if p.pid in ours and p.ppid not in ours and p.state != "zombie")


def workers_of(processes: Iterable[Process], master: int) -> tuple[Process, ...]:
    """The living children of a master."""
    return tuple(p for p in processes if p.ppid == master and p.state != "zombie" and is_gunicorn(p))


def process_of(processes: Processes, pid: int | None) -> Process | None:
    """The process ``pid``; None where it is not among those seen."""
    return next((p for p in processes.processes if p.pid == pid), None)


def arguments(master: Process | None) -> tuple[str, ...]:
    """Everything that a master was told beside its file: GUNICORN_CMD_ARGS, then its command line, which wins
    (gunicorn: configuration overview). Nothing where its paths are a container's."""
    if master is None or master.is_nested or master.has_other_root:
        return ()
    try:
        given = shlex.split((master.environment or {}).get("GUNICORN_CMD_ARGS", ""))
    except ValueError:  # a quotation that does not end: gunicorn would not have started with it
        given = []
    return (*given, *master.command)


def wsgi(master: Process | None) -> str | None:
    """The application on a master's command line, ``package.module:name``; None where none stands there."""
    last = master.command[-1] if master and master.command else ""
    module, colon, _ = last.partition(":")
    return last if colon and all(part.isidentifier() for part in module.split(".")) else None


# What systemd does itself: a unit needs no daemon.
_AS_DAEMON = ("-D", "--daemon")


def started_arguments(master: Process | None) -> tuple[str, ...]:
    """GUNICORN_CMD_ARGS and what follows gunicorn's name on a master's command line, without what makes a daemon of it;
    nothing where the command line is only a title (setproctitle)."""
    words = () if master is None else master.command
    place = next((n for n, word in enumerate(words[:6]) if PurePosixPath(word).name == "gunicorn"), None)
    if place is None:
        return ()
    given = arguments(master)[: -len(words)]
    return tuple(word for word in (*given, *words[place + 1 :]) if word not in _AS_DAEMON)


def interpreter(master: Process) -> str | None:
    """The interpreter on a master's command line, as it was called: a virtual environment's own, where /proc's link
    leads on to the one it was made from. None where the command line names none by its path."""
    word = master.command[0] if master.command else ""
    return word if word.startswith("/") and PurePosixPath(word).name.startswith(("python", "pypy")) else None


def options(command: tuple[str, ...]) -> dict[str, str]:
    """The long and short options on a gunicorn command line, by long name. Of several the last counts."""
    found: dict[str, str] = {}
    for index, word in enumerate(command):
        following = command[index + 1] if index + 1 < len(command) else ""
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals else following
        elif word in _SHORT:
            found[_SHORT[word]] = following
        elif word[:2] in _SHORT and len(word) > 2 and not word.startswith("--"):
            found[_SHORT[word[:2]]] = word[2:].lstrip("=")
    return found


def worker_class(master: Process | None, config: GunicornConfig | NotSeen | None) -> str | None:
    """The worker class that a master was told, as a name of gunicorn's or a dotted path; None where it is the default
    or not known."""
    value = setting("worker_class", "worker-class", arguments(master), config)
    return value if isinstance(value, str) and value else None


class Hints(msgspec.Struct, frozen=True):
    """What is known of this service's gunicorn before it is looked for; None where nothing was configured.

    ``pidfile_read``: the one that was read, configured or not; ``pidfile_uid``: whose it is; ``pidfile_is_own``:
    whether the process in it is configured to write this very file, None where that is not known; ``config_files`` and
    ``app_dirs``: as configured, and where links lead; ``owners``: the users that these files belong to; ``accounts``:
    the users as whom the service is known to run, empty where that is not known; ``unit``: its unit of the system's."""

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
    """This service's master among all gunicorns of the machine.

    In order: the one in the service's unit; the pidfile's process, where it is the service's (`belongs`); one started
    with the configured file; one that listens where the service should or where nginx proxies to; one that runs in the
    application's directory; without any of these hints, the only one that the pidfile does not disown.

    What a process says of itself (its command line) and where it runs counts for root, the caller and the users whose
    files the service's are. Who listens is the kernel's word, and anybody may listen at an address that is free: of
    another user's gunicorn it counts where the service is known to run as that user, or its file and directory are the
    service's (`_may_serve`). A container's counts where it listens: its paths are not this host's. A set-user-ID
    program's arguments are anybody's."""
    masters = [m for m in gunicorn_masters(processes.processes) if not m.is_setuid]
    by_pid = {m.pid: m for m in masters if _may_serve(m, hints, processes.caller)}
    known = {processes.caller, ROOT, *hints.owners, *hints.accounts}
    here = [m for m in masters if standing(m, processes.caller) is not Standing.CONTAINER]
    ours = [m for m in here if m.uid is None or m.uid in known]
    supervised = [m for m in here if hints.unit is not None and m.unit == hints.unit]
    if len(supervised) == 1:
        return supervised[0]
    named = pidfile_process(processes, hints)
    if named is not None and belongs(processes, named, hints):
        return named
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
    left = [m for m in here if m is not named and _may_serve(m, hints, processes.caller)]
    return left[0] if len(left) == 1 else None


def other_masters(processes: Processes, hints: Hints) -> tuple[int, ...]:
    """The gunicorn masters that are not this service's, wherever they listen."""
    return tuple(
        m.pid
        for m in gunicorn_masters(processes.processes)
        if m.is_setuid or not _may_serve(m, hints, processes.caller)
    )


def _may_serve(master: Process, hints: Hints, caller: int) -> bool:
    """Whether a gunicorn that listens at the service's address may be the service."""
    if master.uid is None or master.uid in (ROOT, caller, *hints.owners, *hints.accounts):
        return True
    if hints.accounts:
        return False
    if not hints.config_files and not hints.app_dirs:
        return True
    return config_path(master) in hints.config_files or master.cwd in hints.app_dirs


def pidfile_process(processes: Processes, hints: Hints) -> Process | None:
    """The gunicorn master whose number the pidfile holds, whoever it belongs to."""
    return next((m for m in gunicorn_masters(processes.processes) if m.pid == hints.pidfile_pid), None)


def belongs(processes: Processes, master: Process, hints: Hints) -> bool:
    """Whether the pidfile's process is this service's: a number alone may have become another gunicorn's.

    Not where the pidfile is another user's. The first that is known decides: whether the process is configured to write
    this very pidfile, whether it was started with the configured file, where it listens, which directory it runs in.
    Where nothing is known that could tell, it is."""
    if standing(master, processes.caller) is Standing.CONTAINER or master.is_setuid:
        return False
    if master.uid is not None and not may_name(hints.pidfile_uid, master.uid, processes.caller):
        return False
    if hints.pidfile_is_own is not None:
        return hints.pidfile_is_own
    return _agrees(processes, master, hints)


def _agrees(processes: Processes, master: Process, hints: Hints) -> bool:
    """Whether the first thing that is known of a process is as the service's: the file it was started with, where it
    listens, the directory it runs in. Of two instances in one directory the other's file or address tells them
    apart."""
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
    """The configuration file on the master's command line, absolute; gunicorn.conf.py in its directory otherwise."""
    given = options(arguments(master)).get("config")
    if given and not given.startswith("python:"):
        return str(PurePosixPath(master.cwd or "/") / given.removeprefix("file:"))
    return str(PurePosixPath(master.cwd) / "gunicorn.conf.py") if master.cwd and not given else None


def config_of_command(command: str | Sequence[str], directory: str | None) -> str | None:
    """The configuration file that a start command names for gunicorn, absolute; None where it names none.

    ``directory``: where it is started."""
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError:
        return None
    if not any(PurePosixPath(word).name == "gunicorn" for word in words):
        return None
    given = options(words).get("config")
    if not given or given.startswith("python:"):
        return None
    path = PurePosixPath(directory or "/") / given.removeprefix("file:")
    return str(path) if directory or given.startswith("/") else None


def setting(name: str, option: str, command: tuple[str, ...], config: GunicornConfig | NotSeen | None) -> Any:
    """One of gunicorn's settings: the command line wins over the file; None where neither says or it is not known."""
    on_line = options(command).get(option)
    if on_line:
        return on_line
    if not isinstance(config, GunicornConfig) or name not in config.assigned:
        return None
    return config.assigned[name].value


def bind_addresses(value: Any) -> tuple[str, ...]:
    """``ip:port`` or ``unix:/path`` for gunicorn's ``bind``, a string, list or comma-separated."""
    items = value if isinstance(value, list) else str(value).split(",") if value else []
    return tuple(filter(None, (normal_bind(str(item).strip()) for item in items if str(item).strip())))


def normal_bind(written: str) -> str:
    """One bind address in the form listeners are named by. Default port 8000 (gunicorn: settings, bind).

    Empty for ``fd://3``: which address a socket has that somebody else opened stands with that one."""
    if written.startswith("fd://"):
        return ""
    written = written.removeprefix("tcp://").removeprefix("http://")
    if written.startswith("unix:"):
        return "unix:" + written.removeprefix("unix:").removeprefix("//")
    if written.startswith(":"):
        written = "0.0.0.0" + written  # noqa: S104
    host, colon, port = written.rpartition(":")
    if not colon or written.endswith("]"):
        host, port = written, "8000"
    host = "127.0.0.1" if host == "localhost" else host
    return f"{host}:{port}"


def listening_on(processes: Processes, pids: Iterable[int]) -> tuple[str, ...]:
    """The addresses any of ``pids`` listens on."""
    wanted = set(pids)
    return tuple(item.address for item in processes.listeners if wanted.intersection(item.pids))


def holder(processes: Processes, address: str) -> tuple[Process, ...]:
    """The processes that hold a listening address; empty where nobody does or it was not seen."""
    pids = {pid for item in processes.listeners if same_address(item.address, address) for pid in item.pids}
    return tuple(p for p in processes.processes if p.pid in pids)


def belongs_to(process: Process, target: Target) -> bool:
    """Whether a process is this service's gunicorn; where its master is not known, any gunicorn that may be it."""
    if target.gunicorn_master is None:
        return is_gunicorn(process) and not {process.pid, process.ppid} & set(target.other_gunicorns)
    return target.gunicorn_master in (process.pid, process.ppid)


def foreign_holders(processes: Processes, target: Target) -> tuple[Process, ...]:
    """Who holds the service's address, where that is somebody else alone. systemd (pid 1) holds it for the service."""
    owners = holder(processes, target.backend)
    return () if any(belongs_to(p, target) or p.pid == 1 for p in owners) else owners


def is_listening(processes: Processes, address: str) -> bool:
    """Whether anything listens there, its holder visible or not."""
    return any(same_address(item.address, address) for item in processes.listeners)
