"""How long `gte-ops backup create` takes, as a whole process, beside tar and restic on the same tree.

    python -m benchmarks.backup_create [--rounds 5] [--files 10000] [--megabytes 1000]

Two trees: a host's own (200 files), and a large one that `backup.include` names. On the large one, in turn within each
round: gte-ops; `tar | zstd` with the same level and threads, flushed to disk, read back and hashed (what gte-ops does,
without its hashes of every file and its second look at the sources); the same with zstd as it comes; restic's first
backup into a new repository. Prints a Markdown table: wall seconds, CPU seconds (they tell more on a busy machine), the
largest resident memory, size of the result.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.system.backup_host import Host, lay_out


def make_tree(directory: Path, files: int, total: int) -> None:
    """``files`` files of together ``total`` bytes; one half of each compresses like a configuration, one not at all."""
    chance = random.Random(1)
    for number in range(files):
        size = total // files
        path = directory / f"{number // 100:03}" / f"{number:05}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(
            f"    set $name_{chance.randrange(10**6)} value_{n};\n" for n in range(size // 60)
        ).encode()
        path.write_bytes(text[: size // 2] + chance.randbytes(size - len(text[: size // 2])))


def run(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, float]:
    """One run: its wall seconds, its largest resident memory in MiB, its CPU seconds."""
    started = time.perf_counter()
    pid = os.posix_spawnp(
        command[0],
        command,
        {**os.environ, **(environment or {})},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{command}: exit {os.waitstatus_to_exitcode(status)}")
    return took, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a directory."""
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )


def gte_ops(host: Host) -> tuple[float, float, float, int]:
    """One `backup create`, and the archive's size."""
    shutil.rmtree(host.backups, ignore_errors=True)
    program = str(Path(sys.executable).with_name("gte-ops"))
    took, memory, cpu = run([program, "backup", "create", "--config", str(host.config)])
    return took, memory, cpu, size_of(host.archives()[0])


def tar(tree: Path, scratch: Path, zstd: str) -> tuple[float, float, float, int]:
    """tar through zstd, flushed, read back and hashed."""
    out = scratch / "peer.tar.zst"
    out.unlink(missing_ok=True)
    words = f'tar -C / -cf - "$1" | {zstd} >"$2" && sync "$2" && sha256sum "$2"'
    took, memory, cpu = run(["sh", "-c", words, "sh", str(tree)[1:], str(out)])
    return took, memory, cpu, size_of(out)


def restic(tree: Path, scratch: Path) -> tuple[float, float, float, int]:
    """The first backup into a repository that was just made; making it is not counted."""
    repository = scratch / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    environment = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(scratch / "cache")}
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    run(["restic", "-q", "-r", str(repository), "init"], environment)
    took, memory, cpu = run(["restic", "-q", "-r", str(repository), "backup", str(tree)], environment)
    return took, memory, cpu, size_of(repository)


def version(command: list[str]) -> str:
    """The first line of what a program says of itself."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as made:
        scratch = Path(made)
        small = lay_out(scratch / "small")
        make_tree(scratch / "small" / "more", 172, 400_000)
        small.configure(include=[str(scratch / "small" / "more")])
        tree = scratch / "large" / "tree"
        large = lay_out(scratch / "large")
        make_tree(tree, options.files, options.megabytes * 10**6)
        large.configure(include=[str(tree)])
        cases: dict[str, Callable[[], tuple[float, float, float, int]]] = {
            "gte-ops backup create, a host's 200 files": lambda: gte_ops(small),
            "gte-ops backup create": lambda: gte_ops(large),
            "tar, zstd -3 -T2, sync, sha256sum": lambda: tar(tree, scratch, "zstd -q -3 -T2"),
            "tar, zstd, sync, sha256sum": lambda: tar(tree, scratch, "zstd -q"),
            "restic, first backup": lambda: restic(tree, scratch),
        }
        results: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, case in cases.items():
                results[name].append(case())
        print(
            f"{datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
        )
        print(
            f"{version(['restic', 'version'])}, {version(['tar', '--version'])}, {version(['zstd', '--version'])}"
        )
        print(f"{options.files} files of together {options.megabytes} MB, {options.rounds} rounds\n")
        print(
            "| case | min s | median s | max s | gte-ops is (min .. max of rounds) | CPU s | RSS MiB | result MB |"
        )
        print("|---|---|---|---|---|---|---|---|")
        ours = [took for took, *_ in results["gte-ops backup create"]]
        for name, runs in results.items():
            took = [each[0] for each in runs]
            ratios = [a / b for a, b in zip(ours, took, strict=True)]
            shown = (
                ""
                if "gte-ops" in name
                else f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} .. {max(ratios):.2f})"
            )
            print(
                f"| {name} | {min(took):.2f} | {statistics.median(took):.2f} | {max(took):.2f} | {shown}"
                f" | {statistics.median(each[2] for each in runs):.1f} | {max(each[1] for each in runs):.0f}"
                f" | {runs[-1][3] / 1e6:.1f} |"
            )


if __name__ == "__main__":
    main()
