"""The host, its processes, and its listening sockets."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts


class Host(Facts, frozen=True):
    """The machine, and the user who examines it. ``utc_offset``: its local time, seconds east of UTC; ``software``:
    versions of what everything on it runs on, by name (kernel, system, libc, openssl, python)."""

    hostname: str
    addresses: tuple[str, ...]
    user: str
    is_root: bool
    has_systemd: bool
    utc_offset: int = 0
    software: dict[str, str] = msgspec.field(default_factory=dict)


class Process(Facts, frozen=True):
    """One process. ``state``: as ps names it (running, sleeping, stopped, zombie, ...). ``environment``: only the few
    variables that decide how a Flask application runs, None if it may not be read.

    ``uid``: the user who started it, ``is_nested``: it is in a process namespace below the reader's (a container),
    ``is_setuid``: its program is set-user-ID, ``has_other_root``: it has another ``/``, ``has_other_network``: it has
    another network namespace, ``unit``: its systemd unit, by the kernel, whereas the process itself chooses ``name``
    and ``command``. None: not seen. ``container``: the beginning of its container's id, if its control group has
    one."""

    pid: int
    ppid: int
    name: str
    command: tuple[str, ...]
    user: str
    state: str
    started: float
    cwd: str | None = None
    environment: dict[str, str] | None = None
    executable: str | None = None
    start_ticks: int = 0
    uid: int | None = None
    is_nested: bool = False
    is_setuid: bool | None = None
    has_other_root: bool | None = None
    has_other_network: bool | None = None
    unit: str | None = None
    container: str | None = None


class Listener(Facts, frozen=True):
    """A listening socket. ``address`` is ``ip:port``, ``[ip6]:port`` or ``unix:/path``; ``queued`` is the number of
    connections waiting to be accepted (None: not seen), ``pids``: the processes that hold it (empty: not seen)."""

    address: str
    pids: tuple[int, ...] = ()
    queued: int | None = None


class Processes(Facts, frozen=True):
    """Web-related processes, everything that listens, and the processes that hold the sockets. ``caller``: the
    effective user id of the run that read them; ``unread``: processes whose data could not be read in time;
    ``private``: unix sockets whose path exists only in their holders' mount namespaces."""

    processes: tuple[Process, ...]
    listeners: tuple[Listener, ...]
    caller: int = 0
    unread: tuple[int, ...] = ()
    private: tuple[Listener, ...] = ()
