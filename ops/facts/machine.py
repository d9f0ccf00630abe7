"""The machine: file systems, memory, processor time, descriptors, clock, the kernel's log."""

from __future__ import annotations

from ops.facts.base import Facts, NotSeen


class FileSystem(Facts, frozen=True):
    """A writable file system the stack writes to. ``total`` and ``free`` in bytes as df counts them; ``inodes`` 0 if
    their number is not fixed. ``consumer``: if little space is left, the largest directory or file among those
    examined."""

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
    """The machine's memory in bytes; and the pages swapped in and out while it was observed."""

    total: int
    available: int
    swapped_pages_per_second: float = 0.0


class MemoryGroup(Facts, frozen=True):
    """A control group of the service with a memory limit, in bytes."""

    path: str
    limit: int
    used: int


class CpuTime(Facts, frozen=True):
    """Processor time of the whole machine while it was observed, in clock ticks; ``stolen`` by the hypervisor."""

    ticks: int
    stolen: int


class CpuGroup(Facts, frozen=True):
    """A control group of the service with a CPU quota, while it was observed: periods in which it was runnable, those
    in which the quota throttled it, and the seconds lost."""

    path: str
    periods: int
    throttled: int
    seconds: float


class OpenFiles(Facts, frozen=True):
    """A process's soft limit of open files, and the number it has open (None: not permitted to see). ``process``: nginx
    or gunicorn."""

    pid: int
    process: str
    soft: int
    used: int | None = None


class Clock(Facts, frozen=True):
    """A time daemon's own estimate of the clock's offset, in seconds, with its own sign: what is to be added to the
    clock, so that a positive one is behind (chrony's current correction; systemd-timesyncd's offset, RFC 5905)."""

    source: str
    offset: float
    synchronised: bool = True

    @property
    def ahead(self) -> float:
        """By how many seconds the clock is ahead of the true time; negative if it is behind."""
        return -self.offset


class Machine(Facts, frozen=True):
    """The resources that the machine leaves to the service."""

    file_systems: tuple[FileSystem, ...] = ()
    memory: Memory | NotSeen = NotSeen(reason="it was not looked at")
    memory_groups: tuple[MemoryGroup, ...] = ()
    cpu: CpuTime | NotSeen = NotSeen(reason="it was not looked at")
    cpu_groups: tuple[CpuGroup, ...] = ()
    open_files: tuple[OpenFiles, ...] = ()
    clocks: tuple[Clock, ...] | NotSeen = ()


class Footprint(Facts, frozen=True):
    """The machine's available memory, and by worker the memory that it does not share (USS), in bytes."""

    available: int
    private: dict[int, int]


class KernelKill(Facts, frozen=True):
    """A process that the kernel killed because memory ran out, by the kernel's log. ``group``: the control group it was
    in, empty if the kernel does not tell (before Linux 5.0)."""

    time: float
    pid: int
    text: str
    group: str = ""


class OomCounter(Facts, frozen=True):
    """A memory cgroup that contains only the service: how often the kernel has killed a process in it since it was
    created. ``path``: the file with the count."""

    path: str
    oom_kills: int


class KernelLog(Facts, frozen=True):
    """The kernel's out-of-memory kills in the window, and the service's own memory cgroup if it has one."""

    kills: tuple[KernelKill, ...] | NotSeen
    group: OomCounter | None = None
