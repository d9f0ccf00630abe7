"""The host: who looks, its processes, and what listens."""

from __future__ import annotations

from ops.facts.base import Facts


class Host(Facts, frozen=True):
    """The machine and who is looking at it. ``utc_offset``: its local time, seconds east of UTC."""

    hostname: str
    addresses: tuple[str, ...]
    user: str
    is_root: bool
    has_systemd: bool
    utc_offset: int = 0


class Process(Facts, frozen=True):
    """One process. ``state`` is ps's word (running, sleeping, stopped, zombie, ...); ``environment`` holds only
    the few variables that decide how a Flask application runs, None where it may not be read.

    ``uid``: the user who started it, ``is_nested``: it lives in a process namespace below the reader's (a container's),
    ``is_setuid``: its program is set-user-ID, ``has_other_root``: its ``/`` is another one, ``has_other_network``: so
    is its network namespace, ``unit``: the system's unit that it belongs to: the kernel's word, where ``name`` and
    ``command`` are its own. None: not seen.
    ``container``: the beginning of its container's number, where its control group names one."""

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
    connections waiting to be accepted (None: not seen), ``pids`` who holds it (empty: not seen)."""

    address: str
    pids: tuple[int, ...] = ()
    queued: int | None = None


class Processes(Facts, frozen=True):
    """Web-related processes, everything that listens, and who is behind the listeners. ``caller``: the effective user
    id of the run that read them; ``unread``: processes of which reading did not end; ``private``: unix sockets whose
    path leads to them in their holders' mount namespaces alone."""

    processes: tuple[Process, ...]
    listeners: tuple[Listener, ...]
    caller: int = 0
    unread: tuple[int, ...] = ()
    private: tuple[Listener, ...] = ()
