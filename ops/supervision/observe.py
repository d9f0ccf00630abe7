"""Observing the service: few system calls, in every cycle, also in a resident process.

The doctor's collectors see more, at a cost that a watchdog cannot afford every few seconds. The whole process table is
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
from ops.collect.net.private_headers import listens, read_private_headers, without_private
from ops.collect.process.control_socket import NoAnswerError, ask
from ops.collect.process.process_status import ProcessStatus, process_status
from ops.collect.services.gunicorn import read_config, read_progress
from ops.control import launch
from ops.errors import SettingsError
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.probes import Exchange
from ops.files.ownership import ROOT
from ops.files.time_limit import BlockedError, within
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret.address import dialled, is_wildcard, join_host, same_address, split_address
from ops.interpret.authority import may_name, speaks_for
from ops.interpret.process_ref import ProcessRef
from ops.interpret.target import GUIDE_APP_DIR, GUIDE_PIDFILE, gunicorn_hints
from ops.settings import Settings
from ops.supervision import resources
from ops.supervision.observation import Holder, Observation, ProcessState, RunState, Worker
from ops.supervision.state import Subject, WatchdogState
from ops.supervision.state_store import clocks
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Where gunicorn looks by itself (gunicorn: settings, config).
DEFAULT_CONFIG_NAME = "gunicorn.conf.py"
# How long /health and /ready may take each; a longer wait proves nothing more.
PROBE_SECONDS = 2.0
CONTROL_SECONDS = 2.0
CONNECT_SECONDS = 1.0
# unix(7): sun_path has 108 bytes, a zero byte among them.
LONGEST_SOCKET_PATH = 107
# Reading all processes of a machine takes about a second; what takes longer never ends.
TABLE_SECONDS = 10.0
# Descriptors that one observation needs at the same time.
DESCRIPTORS_NEEDED = 8
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# proc(5), /proc/pid/stat field 3, in ps's words.
_STATES = {
    "R": RunState.RUNNING,
    "S": RunState.SLEEPING,
    "D": RunState.DISK_SLEEP,
    "T": RunState.STOPPED,
    "t": RunState.TRACED,
    "Z": RunState.ZOMBIE,
    "X": RunState.DEAD,
    "I": RunState.IDLE,
    "P": RunState.PARKED,
}
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ObservedService:
    """One observation, and the service as it can be recognised by later."""

    observation: Observation
    subject: Subject


def observe(settings: Settings, state: WatchdogState) -> ObservedService:
    """Observe the service once. A lack of descriptors or memory is its ``own_trouble``, and is not raised."""
    try:
        _check_descriptors()
        return _observe(settings, state)
    except OSError as error:
        if error.errno not in _OWN_TROUBLE:
            raise
        why = Text(
            en=safe_line(f"the watchdog has no resources left: {error.strerror}"),
            zh=safe_line(f"watchdog 的系统资源已耗尽：{error.strerror}"),
        )
    except MemoryError:
        why = Text(en="the watchdog has no memory left", zh="watchdog 的内存已耗尽")
    except BlockedError as error:
        why = Text(
            en=f"a process of this machine cannot be looked at, which keeps its memory locked: {error}",
            zh=f"本机有进程无法读取（其内存被锁住）：{error}",
        )
    unseen = NotSeen(reason=why.en)
    observation = Observation(
        clocks=clocks(),
        backend=state.subject.backend,
        master=None,
        workers=(),
        has_records=False,
        health=unseen,
        ready=unseen,
        own_trouble=why,
    )
    return ObservedService(observation, state.subject)


def _check_descriptors() -> None:
    """Raises OSError if an observation would run out of descriptors midway, which looks like the service's failure."""
    with contextlib.ExitStack() as stack:
        for _ in range(DESCRIPTORS_NEEDED):
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)


def _observe(settings: Settings, state: WatchdogState) -> ObservedService:
    subject = state.subject
    master = process_state(subject.master.pid) if subject.master else None
    holders: tuple[Holder, ...] | NotSeen = ()
    if (
        master is None
        or subject.master is None
        or master.start_ticks != subject.master.start_ticks
        or subject.uid is None
    ):
        master, subject, holders = _find(settings, state.subject)
    room = resources.room(master.pid) if master else None
    control: bool | None = None
    booting: frozenset[int] = frozenset()
    if master is not None and settings.gunicorn.control_socket:
        control, booting = _ask_control(socket_of(settings.gunicorn.control_socket, master.pid))
    headers = _private_headers(settings, subject, master)
    health = _probe(subject, master, settings.target.health_path, headers)
    has_answer = health.status is not None
    ready = (
        _probe(subject, master, settings.target.ready_path, headers)
        if has_answer and master is not None
        else NotSeen(reason="/health did not answer" if not has_answer else "no master is seen")
    )
    # Last, together with the clocks: else what a worker did while the probes waited would look older than it is.
    workers = _workers(settings, master) if master else ()
    workers = tuple(
        msgspec.structs.replace(w, booting_by_control=w.pid in booting and w.record is None) for w in workers
    )
    if health.status is None or health.status >= 500:
        workers = tuple(
            msgspec.structs.replace(
                w, descriptors=resources.descriptors(w.pid), sockets=resources.sockets(w.pid)
            )
            for w in workers
        )
    observation = Observation(
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
    return ObservedService(observation, subject)


def _private_headers(settings: Settings, subject: Subject, master: ProcessState | None) -> dict[str, str]:
    """The headers that settings name a file of, for the service's own master alone. A file that cannot be used any more
    ends no cycle: without a key the answer is still that of a living service, or none."""
    if not settings.target.headers_file or master is None or not listens(master.pid, subject.backend):
        return {}
    with contextlib.suppress(SettingsError):
        return read_private_headers(settings.target.headers_file).headers
    return {}


def _probe(subject: Subject, master: ProcessState | None, path: str, private: dict[str, str]) -> Exchange:
    """Probe as nginx forwards: by the site's name, and with the header for HTTPS. An application may require both."""
    deadline = Deadline(time.monotonic() + PROBE_SECONDS)
    url = f"http://{join_host(subject.host or 'localhost')}{path}"
    backend = subject.backend
    if backend.startswith("unix:/") and master is not None:
        backend = f"unix:{socket_of(backend.removeprefix('unix:'), master.pid)}"
    answer = exchange("GET", url, backend, deadline, headers={**PROXIED, **private})
    return without_private(answer, private) if private else answer


def socket_of(path: str, pid: int) -> str:
    """The path by which this process reaches the unix socket that process ``pid`` knows as ``path``: with PrivateTmp=
    each of both has a /tmp of its own (systemd.exec(5))."""
    there = f"/proc/{pid}/root{path}"
    try:
        is_ours = Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
        if is_ours or len(os.fsencode(there)) > LONGEST_SOCKET_PATH or not Path(there).is_socket():
            return path
    except OSError:
        return path
    return there


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size if path else None
    except OSError:
        return None


def _ask_control(path: str) -> tuple[bool | None, frozenset[int]]:
    """Whether the master answers (None: there is no socket to ask), and the workers that never sent a heartbeat.

    Until its first heartbeat a worker's time counts from another clock, and appears far in the future (measured)."""
    try:
        answer = ask(path, "show workers", seconds=CONTROL_SECONDS)
        if isinstance(answer, NotSeen):  # the connection drops at each fork: ask again
            answer = ask(path, "show workers", seconds=CONTROL_SECONDS)
    except NoAnswerError:
        return False, frozenset()
    if isinstance(answer, NotSeen):
        return None, frozenset()
    workers = answer.get("workers")
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


def process_state(pid: int) -> ProcessState | None:
    """One process; None if it is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            return None
        return ProcessState(
            pid=pid,
            start_ticks=int(fields[19]),
            state=_STATES.get(fields[0], RunState.SLEEPING),
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
    pids: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                pids += [int(word) for word in (task / "children").read_text().split()]
    except FileNotFoundError:
        # The kernel was built without these files (CONFIG_PROC_CHILDREN), or the process is gone.
        import psutil

        with contextlib.suppress(psutil.Error):
            pids = [child.pid for child in psutil.Process(pid).children()]
    except ProcessLookupError:
        return ()
    return tuple(sorted(pids))


def _workers(settings: Settings, master: ProcessState) -> tuple[Worker, ...]:
    """The master's children that run as its user; children of any user if it is root, since gunicorn's ``user`` setting
    changes theirs.

    A child of another user runs a set-user-ID program, and is no worker."""
    owner = process_status(master.pid)
    records = read_progress(settings.app.progress_dir)
    by_pid = {} if isinstance(records, NotSeen) else {r.pid: r for r in records}
    workers = []
    for pid in children(master.pid):
        process = process_state(pid)
        if process is None or not _may_be_worker(owner, process_status(pid)):
            continue
        record = by_pid.get(pid)
        if record is not None and record.start_ticks != process.start_ticks:
            record = None
        workers.append(
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
    return tuple(workers)


def _may_be_worker(master: ProcessStatus | None, child: ProcessStatus | None) -> bool:
    return (
        master is not None
        and child is not None
        and master.is_nested == child.is_nested
        and may_name(master.uid, child.uid, os.geteuid())
    )


# --- finding the service ----------------------------------------------------------------------------------------------


def _find(
    settings: Settings, last_subject: Subject
) -> tuple[ProcessState | None, Subject, tuple[Holder, ...] | NotSeen]:
    """Search all processes of the machine: the master if there is one, the service as it can be recognised by later,
    and who else listens at its address."""
    from ops.collect.locate import completed, locate_master, public_host
    from ops.collect.process.processes import processes
    from ops.collect.services.nginx import read_pidfile

    everyone = within(TABLE_SECONDS, processes)
    table = _without_orphans(everyone, last_subject)
    pidfile_path = settings.gunicorn.pidfile or (
        None if settings.gunicorn.bind or settings.gunicorn.config_file else GUIDE_PIDFILE
    )
    pidfile = read_pidfile(pidfile_path) if pidfile_path else None
    hints = gunicorn_hints(settings, pidfile, None)
    remembered = launch.load(launch.launch_path(settings))
    if remembered is not None and remembered.launch.account.uid:
        # It runs as the user it ran as before, until the operator says otherwise (gte-ops watchdog forget).
        hints = msgspec.structs.replace(hints, accounts=(remembered.launch.account.uid,))
    process = locate_master(table, settings, hints)
    if process is None and last_subject.command:
        process = _as_known(table, last_subject)
    master = process_state(process.pid) if process else None
    if process is None or master is None:
        backend = _backend(settings, table, None, last_subject)
        host = last_subject.host or public_host(settings, everyone, backend)
        subject = msgspec.structs.replace(last_subject, backend=backend, master=None, host=host)
        whole = completed(everyone, settings, hints)
        owners = (*whole.owners, *whole.accounts)
        return None, subject, _holders(settings, everyone, backend, last_subject, owners)
    subject = _subject(settings, table, process, last_subject)
    return master, subject, ()


def _without_orphans(table: Processes, last_subject: Subject) -> Processes:
    """The table without workers that outlive their master: they have its command line, but their parent is no gunicorn.

    The new master of an upgrade (USR2) was such a child too, but has workers of its own."""
    workers = set(last_subject.workers)
    parents = {process.ppid for process in table.processes if gunicorn_topology.is_gunicorn(process)}
    return msgspec.structs.replace(
        table,
        processes=tuple(
            p for p in table.processes if p.pid in parents or ProcessRef(p.pid, p.start_ticks) not in workers
        ),
    )


def _as_known(table: Processes, last_subject: Subject) -> Process | None:
    """A master started with the command of the last one, by the same user, if the settings do not identify it."""
    masters = gunicorn_topology.gunicorn_masters(table.processes)
    same = [m for m in masters if _is_like(m, last_subject, table.caller)]
    return same[0] if len(same) == 1 else None


def _is_like(process: Process, last_subject: Subject, caller: int) -> bool:
    """Whether a process was started as the service was. Anybody can forge a command line; nobody can forge the user."""
    if (
        not last_subject.command
        or process.command != last_subject.command
        or (process.cwd or "") != last_subject.cwd
    ):
        return False
    return speaks_for(process, ROOT if last_subject.uid is None else last_subject.uid, caller)


def _subject(settings: Settings, table: Processes, master: Process, last_subject: Subject) -> Subject:
    from ops.collect.locate import public_host

    path = config_file(settings, master.cwd or last_subject.cwd, gunicorn_topology.config_path(master))
    config = read_config(path) if path else NotSeen(reason="no configuration file", is_lasting=True)

    def log(configured: str | None, name: str, option: str) -> str:
        value = configured or gunicorn_topology.setting(
            name, option, gunicorn_topology.arguments(master), config
        )
        return (
            str(Path(master.cwd or "/") / value) if isinstance(value, str) and value not in ("-", "") else ""
        )

    backend = _backend(settings, table, master, last_subject)
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
    """A count from a command line or a configuration file; 0 if neither states it literally."""
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


def _backend(settings: Settings, table: Processes, master: Process | None, last_subject: Subject) -> str:
    configured = settings.gunicorn.bind and gunicorn_topology.normal_bind(settings.gunicorn.bind)
    if master is not None:
        pids = [master.pid, *(w.pid for w in gunicorn_topology.workers_of(table.processes, master.pid))]
        listening = gunicorn_topology.listening_on(table, pids)
        if configured and any(same_address(address, configured) for address in listening):
            return dialled(configured)
        if listening:
            return dialled(listening[0])
    if configured:
        return dialled(configured)
    path = config_file(settings, last_subject.cwd)
    config = read_config(path) if path else NotSeen(reason="no configuration file", is_lasting=True)
    arguments = gunicorn_topology.arguments(master)
    addresses = gunicorn_topology.bind_addresses(gunicorn_topology.setting("bind", "bind", arguments, config))
    return dialled(next(iter(addresses), None) or last_subject.backend or gunicorn_topology.DEFAULT_BIND)


def _holders(
    settings: Settings, table: Processes, backend: str, last_subject: Subject, users: tuple[int, ...]
) -> tuple[Holder, ...] | NotSeen:
    """Who listens at the service's address. ``users``: the owners of the service's files.

    Ours are ended for a restart: a process known as a worker, or one that claims to be the service's and runs as root,
    the caller, or a user whose word counts. All others are left alone, whatever they call themselves."""
    owners = gunicorn_topology.holder(table, backend)
    if not owners:
        # Whoever listens on every address blocks this one too; if ours is every address, so does one on any of them.
        owners = tuple(
            p
            for item in table.listeners
            if _in_the_way(item.address, backend)
            for p in table.processes
            if p.pid in item.pids
        )
    if not owners and gunicorn_topology.is_listening(table, backend):
        return NotSeen(reason=f"somebody listens at {backend}", needs_root=True)
    workers = set(last_subject.workers)
    config = settings.gunicorn.config_file
    is_gunicorns = bool(last_subject.command or config or settings.gunicorn.start_command)
    holders = []
    for owner in owners:
        trusted = (ROOT if last_subject.uid is None else last_subject.uid, *users)
        may_claim = any(speaks_for(owner, uid, table.caller) for uid in trusted)
        ours = (
            owner.pid == 1
            or ProcessRef(owner.pid, owner.start_ticks) in workers
            or _is_like(owner, last_subject, table.caller)
            or (
                may_claim
                and gunicorn_topology.is_gunicorn(owner)
                and config is not None
                and gunicorn_topology.config_path(owner) == config
            )
        )
        command = " ".join(owner.command)[:160] or owner.name
        server = (
            gunicorn_topology.application_server(table, owner) if may_claim and not is_gunicorns else None
        )
        holders.append(Holder(owner.pid, owner.start_ticks, safe_line(command, 160), ours, server or ""))
    return tuple(holders)


def _in_the_way(listening: str, backend: str) -> bool:
    if listening.startswith("unix:") or backend.startswith("unix:"):
        return listening == backend
    (host, port), (_, backend_port) = split_address(listening), split_address(backend)
    return port == backend_port and is_wildcard(host)


def is_free(backend: str) -> bool:
    """Whether nobody listens at the service's address. The file of a unix socket may remain: gunicorn replaces it."""
    from ops.collect.process.bound_sockets import accept_queues

    if backend.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_SECONDS)
            try:
                probe.connect(backend.removeprefix("unix:"))
            except (FileNotFoundError, ConnectionRefusedError):
                return True
            except OSError:  # its queue is full, or access is denied: somebody has it
                return False
            return False
    return not any(same_address(address, backend) for address in accept_queues())
