"""The memory of the service's processes."""

import os
from collections.abc import Set

import psutil


def memory_by_role(workers: Set[int]) -> dict[str, int]:
    """Bytes by role, given the pids of gunicorn's workers: ``master``, ``worker``, and ``engine`` for any other process
    that the master or a worker has started. Without workers, this process alone.

    The proportional set size (proc(5), smaps_rollup) divides shared pages among the processes that share them, so the
    sum is the memory that would be freed. A process that ends meanwhile counts as 0.
    """
    if not workers:
        return {"worker": _size(psutil.Process())}
    sizes = {"master": 0, "worker": 0, "engine": 0}
    try:
        master = psutil.Process(os.getppid())
        family = [master, *master.children(recursive=True)]
    except psutil.Error:
        return {"worker": _size(psutil.Process())}
    for process in family:
        role = "master" if process == master else "worker" if process.pid in workers else "engine"
        sizes[role] += _size(process)
    return sizes


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
