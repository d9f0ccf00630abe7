"""The machine: file systems, memory, processor time, descriptors, clock, the kernel's log."""

from __future__ import annotations

from ops.facts.base import Facts, NotSeen


class FileSystem(Facts, frozen=True):
    """A writable file system the stack writes to. ``total`` and ``free`` in bytes as df counts them; ``inodes`` 0 where
    their number is not fixed. ``consumer``: where little is left, what fills most of it as far as was looked."""

    mount: str
    places: tuple[str, ...]
    total: int
    free: int
    inodes: int
    inodes_free: int
    consumer: str | None = None
    consumer_bytes: int = 0
    consumer_entries: int = 0


class Memory(Facts, frozen=True):
    """The machine's memory in bytes; pages moved to and from swap while it was watched."""

    total: int
    available: int
    swapped_pages_per_second: float = 0.0


class MemoryGroup(Facts, frozen=True):
    """A control group of the service with a memory limit, in bytes."""

    path: str
    limit: int
    used: int


class CpuTime(Facts, frozen=True):
    """Processor time of the whole machine while it was watched, in clock ticks; ``stolen`` by the hypervisor."""

    ticks: int
    stolen: int


class CpuGroup(Facts, frozen=True):
    """A control group of the service with a CPU quota, while it was watched: periods in which it wanted to run, those
    in which the quota stopped it, and the seconds it lost."""

    path: str
    periods: int
    throttled: int
    seconds: float


class OpenFiles(Facts, frozen=True):
    """A process's soft limit of open files, and how many it has (None: may not be seen). ``process``: nginx or
    gunicorn."""

    pid: int
    process: str
    soft: int
    used: int | None = None


class Clock(Facts, frozen=True):
    """A time daemon's own account: how far the clock is off, in seconds."""

    source: str
    offset: float
    synchronised: bool = True


class Machine(Facts, frozen=True):
    """What the machine leaves to the service."""

    file_systems: tuple[FileSystem, ...] = ()
    memory: Memory | NotSeen = NotSeen(reason="it was not looked at")
    memory_groups: tuple[MemoryGroup, ...] = ()
    cpu: CpuTime | NotSeen = NotSeen(reason="it was not looked at")
    cpu_groups: tuple[CpuGroup, ...] = ()
    open_files: tuple[OpenFiles, ...] = ()
    clocks: tuple[Clock, ...] | NotSeen = ()


class Footprint(Facts, frozen=True):
    """The machine's available memory, and by worker what it holds alone (USS), in bytes."""

    available: int
    private: dict[int, int]


class KernelKill(Facts, frozen=True):
    """A process that the kernel killed for want of memory, in the kernel's words."""

    time: float
    pid: int
    text: str


class OomCounter(Facts, frozen=True):
    """A memory cgroup that holds the service and nothing else: how often the kernel killed something in it, since it
    was made. ``path``: the file that says so."""

    path: str
    oom_kills: int


class KernelLog(Facts, frozen=True):
    """The kernel's out-of-memory kills in the window, and the service's own memory cgroup where it has one."""

    kills: tuple[KernelKill, ...] | NotSeen
    group: OomCounter | None = None
