"""The watchdog's own look at the service: few system calls, every round, also in a resident process.

The doctor's collectors see more, at a price a watchdog cannot pay every few seconds. The whole table of processes is
read only while the master is not known.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import PROXIED, exchange
from ops.collect.process.control_socket import NoAnswerError, ask
from ops.collect.process.process_status import ProcessStatus, process_status
from ops.collect.services.gunicorn import read_config, read_progress
from ops.control import launch
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.probes import Exchange
from ops.files.ownership import ROOT
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret.address import dialled, is_wildcard, join_host, same_address, split_address
from ops.interpret.authority import may_name, speaks_for
from ops.interpret.process_ref import ProcessRef
from ops.interpret.target import GUIDE_APP_DIR, GUIDE_PIDFILE, gunicorn_hints
from ops.settings import Settings
from ops.supervision import resources
from ops.supervision.observation import Holder, Observation, ProcessState, Worker
from ops.supervision.state import Subject, WatchdogState
from ops.supervision.state_store import clocks
from ops.supervision.time_limit import BlockedError, within
from ops.text.sanitize import safe_line

# Where gunicorn looks by itself (gunicorn: settings, config).
DEFAULT_CONFIG_NAME = "gunicorn.conf.py"
# How long /health and /ready may take each; a longer wait proves nothing more.
PROBE_SECONDS = 2.0
CONTROL_SECONDS = 2.0
CONNECT_SECONDS = 1.0
# All processes of a machine are looked at in a second; what takes longer never ends.
TABLE_SECONDS = 10.0
# Descriptors that one look needs at the same time.
DESCRIPTORS_NEEDED = 8
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# proc(5), /proc/pid/stat field 3, in ps's words.
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "tracing-stop",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
    "P": "parked",
}
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ObservedService:
    """One look, and the service as it may be recognised by later."""

    look: Observation
    subject: Subject


def observe(settings: Settings, memory: WatchdogState) -> ObservedService:
    """One round's observation. Never raises for want of descriptors or memory: that is the look's ``own_trouble``."""
    try:
        _check_descriptors()
        return _look(settings, memory)
    except OSError as error:
        if error.errno not in _OWN_TROUBLE:
            raise
        why = safe_line(f"the watchdog has no resources left: {error.strerror}")
    except MemoryError:
        why = "the watchdog has no memory left"
    except BlockedError as error:
        why = f"a process of this machine cannot be looked at, which keeps its memory locked: {error}"
    unseen = NotSeen(reason=why)
    look = Observation(
        clocks=clocks(),
        backend=memory.subject.backend,
        master=None,
        workers=(),
        has_records=False,
        health=unseen,
        ready=unseen,
        own_trouble=why,
    )
    return ObservedService(look, memory.subject)


def _check_descriptors() -> None:
    """Raises OSError where a look would run out of descriptors half way, and mistake that for the service's failure."""
    with contextlib.ExitStack() as opened:
        for _ in range(DESCRIPTORS_NEEDED):
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)


def _look(settings: Settings, memory: WatchdogState) -> ObservedService:
    subject = memory.subject
    master = seen(subject.master.pid) if subject.master else None
    holders: tuple[Holder, ...] | NotSeen = ()
    if (
        master is None
        or subject.master is None
        or master.start_ticks != subject.master.start_ticks
        or subject.uid is None
    ):
        master, subject, holders = _find(settings, memory.subject)
    room = resources.room(master.pid) if master else None
    control: bool | None = None
    booting: frozenset[int] = frozenset()
    if master is not None and settings.gunicorn.control_socket:
        control, booting = _ask_control(settings.gunicorn.control_socket)
    health = _probe(subject, settings.target.health_path)
    answered = health.status is not None
    ready = (
        _probe(subject, settings.target.ready_path)
        if answered and master is not None
        else NotSeen(reason="/health did not answer" if not answered else "no master is seen")
    )
    # Last, with the clocks: what a worker did while the probes waited their turn would else look that old.
    workers = _workers(settings, master) if master else ()
    workers = tuple(
        msgspec.structs.replace(w, booting_by_control=w.pid in booting and w.record is None) for w in workers
    )
    if health.status is None or health.status >= 500:
        workers = tuple(msgspec.structs.replace(w, descriptors=resources.descriptors(w.pid)) for w in workers)
    look = Observation(
        clocks=clocks(),
        backend=subject.backend,
        master=master,
        workers=workers,
        has_records=any(w.record is not None for w in workers),
        health=health,
        ready=ready,
        control_answers=control,
        holders=holders,
        access_log_size=_size(subject.access_log),
        room=room,
    )
    return ObservedService(look, subject)


def _probe(subject: Subject, path: str) -> Exchange:
    """As nginx passes it on: by the site's name, and over HTTPS by the header. An application may insist on both."""
    patience = Deadline(time.monotonic() + PROBE_SECONDS)
    url = f"http://{join_host(subject.host or 'localhost')}{path}"
    return exchange("GET", url, subject.backend, patience, headers=PROXIED)


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size if path else None
    except OSError:
        return None


def _ask_control(path: str) -> tuple[bool | None, frozenset[int]]:
    """Whether the master answers (None: there is no socket to ask), and the workers that never beat.

    Until its first beat a worker's heartbeat counts from another clock and shows as far in the future (measured)."""
    try:
        told = ask(path, "show workers", seconds=CONTROL_SECONDS)
        if isinstance(told, NotSeen):  # it drops at each fork: once more
            told = ask(path, "show workers", seconds=CONTROL_SECONDS)
    except NoAnswerError:
        return False, frozenset()
    if isinstance(told, NotSeen):
        return None, frozenset()
    workers = told.get("workers")
    booting = {
        int(worker["pid"])
        for worker in (workers if isinstance(workers, list) else [])
        if isinstance(worker, dict)
        and isinstance(worker.get("pid"), int)
        and isinstance(worker.get("last_heartbeat"), int | float)
        and worker["last_heartbeat"] < 0
    }
    return True, frozenset(booting)


# --- processes --------------------------------------------------------------------------------------------------------


def seen(pid: int) -> ProcessState | None:
    """One process; None where it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            return None
        return ProcessState(
            pid=pid,
            start_ticks=int(fields[19]),
            state=_STATES.get(fields[0], "sleeping"),
            cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
            started=int(fields[19]) / _TICKS,
            resident=int(fields[21]) * _PAGE,
        )
    except OSError as error:
        if error.errno in _OWN_TROUBLE:
            raise
        return None
    except (IndexError, ValueError):
        return None


def children(pid: int) -> tuple[int, ...]:
    """The children of every thread of a process (proc(5), /proc/pid/task/tid/children)."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                found += [int(word) for word in (task / "children").read_text().split()]
    except FileNotFoundError:
        # The kernel was built without these files (CONFIG_PROC_CHILDREN), or the process is gone.
        import psutil

        with contextlib.suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children()]
    except ProcessLookupError:
        return ()
    return tuple(sorted(found))


def _workers(settings: Settings, master: ProcessState) -> tuple[Worker, ...]:
    """The master's children, of its own user: of root's of any, for gunicorn's ``user`` gives that up for them.

    A child of another user runs a set-user-ID program, and is no worker."""
    owner = process_status(master.pid)
    records = read_progress(settings.app.progress_dir)
    by_pid = {} if isinstance(records, NotSeen) else {r.pid: r for r in records}
    found = []
    for pid in children(master.pid):
        process = seen(pid)
        if process is None or not _may_be_worker(owner, process_status(pid)):
            continue
        record = by_pid.get(pid)
        if record is not None and record.start_ticks != process.start_ticks:
            record = None
        found.append(
            Worker(
                pid=pid,
                start_ticks=process.start_ticks,
                state=process.state,
                cpu=process.cpu,
                started=process.started,
                resident=process.resident,
                record=record,
                threads={} if record is not None else resources.threads(pid),
            )
        )
    return tuple(found)


def _may_be_worker(master: ProcessStatus | None, child: ProcessStatus | None) -> bool:
    return (
        master is not None
        and child is not None
        and master.is_nested == child.is_nested
        and may_name(master.uid, child.uid, os.geteuid())
    )


# --- finding the service ----------------------------------------------------------------------------------------------


def _find(
    settings: Settings, known: Subject
) -> tuple[ProcessState | None, Subject, tuple[Holder, ...] | NotSeen]:
    """The master among all processes of the machine, and where the service is or should be."""
    from ops.collect.locate import completed, locate_master, public_host
    from ops.collect.process.processes import processes
    from ops.collect.services.nginx import read_pidfile

    everyone = within(TABLE_SECONDS, processes)
    table = _without_orphans(everyone, known)
    pidfile_path = settings.gunicorn.pidfile or (
        None if settings.gunicorn.bind or settings.gunicorn.config_file else GUIDE_PIDFILE
    )
    pidfile = read_pidfile(pidfile_path) if pidfile_path else None
    hints = gunicorn_hints(settings, pidfile, None)
    remembered = launch.load(launch.launch_path(settings))
    if remembered is not None and remembered.launch.account.uid:
        # As whom it ran is as whom it runs, until the operator says otherwise (gte-ops watchdog forget).
        hints = msgspec.structs.replace(hints, accounts=(remembered.launch.account.uid,))
    found = locate_master(table, settings, hints)
    if found is None and known.command:
        found = _as_known(table, known)
    master = seen(found.pid) if found else None
    if found is None or master is None:
        backend = _backend(settings, table, None, known)
        host = known.host or public_host(settings, everyone, backend)
        subject = msgspec.structs.replace(known, backend=backend, master=None, host=host)
        whole = completed(everyone, settings, hints)
        owners = (*whole.owners, *whole.accounts)
        return None, subject, _holders(settings, everyone, backend, known, owners)
    subject = _subject(settings, table, found, known)
    return master, subject, ()


def _without_orphans(table: Processes, known: Subject) -> Processes:
    """The table without workers that outlive their master: they have its command line, and no parent of that kind.

    The new master of an upgrade (USR2) was such a child too, but has workers of its own."""
    workers = set(known.workers)
    parents = {process.ppid for process in table.processes if gunicorn_topology.is_gunicorn(process)}
    return msgspec.structs.replace(
        table,
        processes=tuple(
            p for p in table.processes if p.pid in parents or ProcessRef(p.pid, p.start_ticks) not in workers
        ),
    )


def _as_known(table: Processes, known: Subject) -> Process | None:
    """A master started as the last one was, and by the same user, where settings tell too little to find it."""
    masters = gunicorn_topology.gunicorn_masters(table.processes)
    same = [m for m in masters if _is_like(m, known, table.caller)]
    return same[0] if len(same) == 1 else None


def _is_like(process: Process, known: Subject, caller: int) -> bool:
    """Whether a process was started as the service was: a command line is anybody's to forge, the user is not."""
    if not known.command or process.command != known.command or (process.cwd or "") != known.cwd:
        return False
    return speaks_for(process, ROOT if known.uid is None else known.uid, caller)


def _subject(settings: Settings, table: Processes, master: Process, known: Subject) -> Subject:
    from ops.collect.locate import public_host

    path = config_file(settings, master.cwd or known.cwd, gunicorn_topology.config_path(master))
    config = read_config(path) if path else NotSeen(reason="no configuration file")

    def log(configured: str | None, name: str, option: str) -> str:
        value = configured or gunicorn_topology.setting(
            name, option, gunicorn_topology.arguments(master), config
        )
        return (
            str(Path(master.cwd or "/") / value) if isinstance(value, str) and value not in ("-", "") else ""
        )

    backend = _backend(settings, table, master, known)
    return Subject(
        backend=backend,
        master=ProcessRef(master.pid, master.start_ticks),
        command=master.command,
        cwd=master.cwd or "",
        error_log=log(settings.gunicorn.error_log, "errorlog", "error-logfile"),
        access_log=log(settings.gunicorn.access_log, "accesslog", "access-logfile"),
        threads=_whole(gunicorn_topology.setting("threads", "threads", master.command, config)),
        uid=master.uid,
        host=public_host(settings, table, backend),
    )


def _whole(value: object) -> int:
    """A count from a command line or a configuration file; 0 where neither says it outright."""
    try:
        return int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0


def config_file(settings: Settings, cwd: str, on_command_line: str | None = None) -> str | None:
    """gunicorn's configuration file: as configured, as the master names it, or the guide's."""
    if settings.gunicorn.config_file or on_command_line:
        return settings.gunicorn.config_file or on_command_line
    directory = settings.app.dir or cwd or GUIDE_APP_DIR
    path = Path(directory) / DEFAULT_CONFIG_NAME
    return str(path) if path.exists() else None


def _backend(settings: Settings, table: Processes, master: Process | None, known: Subject) -> str:
    wanted = settings.gunicorn.bind and gunicorn_topology.normal_bind(settings.gunicorn.bind)
    if master is not None:
        pids = [master.pid, *(w.pid for w in gunicorn_topology.workers_of(table.processes, master.pid))]
        listening = gunicorn_topology.listening_on(table, pids)
        if wanted and any(same_address(address, wanted) for address in listening):
            return dialled(wanted)
        if listening:
            return dialled(listening[0])
    if wanted:
        return dialled(wanted)
    path = config_file(settings, known.cwd)
    config = read_config(path) if path else NotSeen(reason="no configuration file")
    told = gunicorn_topology.arguments(master)
    written = gunicorn_topology.bind_addresses(gunicorn_topology.setting("bind", "bind", told, config))
    return dialled(next(iter(written), None) or known.backend or gunicorn_topology.DEFAULT_BIND)


def _holders(
    settings: Settings, table: Processes, backend: str, known: Subject, users: tuple[int, ...]
) -> tuple[Holder, ...] | NotSeen:
    """Who listens at the service's address. ``users``: whose the service's files are.

    What is ours is taken down for a restart: a process remembered as a worker, or one that says it is the service's and
    is of root, the caller or a user who may say so. Anybody else's is left alone, whatever it calls itself."""
    owners = gunicorn_topology.holder(table, backend)
    if not owners:
        # Also whoever listens on every address, or on this one while ours wants all of them, is in the way.
        owners = tuple(
            p
            for item in table.listeners
            if _in_the_way(item.address, backend)
            for p in table.processes
            if p.pid in item.pids
        )
    if not owners and gunicorn_topology.is_listening(table, backend):
        return NotSeen(reason=f"somebody listens at {backend}", needs_root=True)
    workers = set(known.workers)
    wanted = settings.gunicorn.config_file
    found = []
    for owner in owners:
        believed = (ROOT if known.uid is None else known.uid, *users)
        may_say_so = any(speaks_for(owner, uid, table.caller) for uid in believed)
        ours = (
            owner.pid == 1
            or ProcessRef(owner.pid, owner.start_ticks) in workers
            or _is_like(owner, known, table.caller)
            or (
                may_say_so
                and gunicorn_topology.is_gunicorn(owner)
                and wanted is not None
                and gunicorn_topology.config_path(owner) == wanted
            )
        )
        command = " ".join(owner.command)[:160] or owner.name
        found.append(Holder(owner.pid, owner.start_ticks, safe_line(command, 160), ours))
    return tuple(found)


def _in_the_way(listening: str, backend: str) -> bool:
    if listening.startswith("unix:") or backend.startswith("unix:"):
        return listening == backend
    (host, port), (_, wanted) = split_address(listening), split_address(backend)
    return port == wanted and is_wildcard(host)


def is_free(backend: str) -> bool:
    """Whether nobody listens at the service's address. A unix socket's file may be left: gunicorn replaces it."""
    from ops.collect.process.processes import accept_queues

    if backend.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_SECONDS)
            try:
                probe.connect(backend.removeprefix("unix:"))
            except (FileNotFoundError, ConnectionRefusedError):
                return True
            except OSError:  # its queue is full, or it may not be entered: somebody has it
                return False
            return False
    return not any(same_address(address, backend) for address in accept_queues())
