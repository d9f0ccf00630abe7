"""One run of a command as a whole process: its length, its processor time, the memory of it and its children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

# How often the memory of the tree is looked at, seconds; each look costs the machine about a millisecond.
LOOK_EVERY = 0.005


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds (children that were waited for included), and the peak of memory in MB.

    ``tree_rss`` and ``tree_pss``: the largest sum over the tree that a look met, pages that processes share counted
    once for each, or in shares; 0 where nobody looked. (The kernel's own ru_maxrss knows the parent's, too.)"""

    wall: float
    cpu: float
    tree_rss: float = 0.0
    tree_pss: float = 0.0
    output: str = ""


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    exit_codes: Sequence[int] = (0,),
    watch_memory: bool = False,
) -> Run:
    """Run it and measure. Raises SystemExit where it did not end as it should."""
    with tempfile.TemporaryFile() as output:
        began = perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        with _watched(process.pid) if watch_memory else contextlib.nullcontext([(0.0, 0.0)]) as looks:
            _, status, used = os.wait4(process.pid, 0)
        wall = perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode not in exit_codes:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}, not {exit_codes}\n{said}")
    return Run(
        wall,
        used.ru_utime + used.ru_stime,
        max(rss for rss, _ in looks),
        max(pss for _, pss in looks),
        said,
    )


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[tuple[float, float]]]:
    looks = [(0.0, 0.0)]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY):
            looks.append(_memory(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()


def _memory(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process and all below it, MB (proc(5), smaps_rollup)."""
    rss = pss = 0.0
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in ("Rss", "Pss"):
                    amount = int(rest.split()[0]) * 1024 / 1e6
                    rss, pss = (rss + amount, pss) if name == "Rss" else (rss, pss + amount)
    return rss, pss


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
    except FileNotFoundError:  # it has ended
        tasks = []
    for children in tasks:
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))
