"""The machine: what can be taken away from this stack without taking it from others on the same machine."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.lab.faults.case import NotHereError, fault
from tests.lab.faults.nginx import hold_connections
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def predicts(stack: Stack) -> bool:
    return stack.predict().status == 200


# --- space ---


def small_file_system(stack: Stack, name: str, options: str) -> Path:
    """A file system of its own for this stack. Raises NotHereError where mounting is not allowed."""
    place = stack.directory / name
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        raise NotHereError(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    # Lazily: the stack's processes may still hold files there.
    stack.at_end(lambda: subprocess.run(["umount", "-l", str(place)], check=False))
    place.chmod(0o1777)
    return place


def buffer_bodies_there(stack: Stack, place: Path) -> None:
    stack.edit(
        stack.nginx_conf,
        f"client_body_temp_path {stack.nginx_dir}/tmp/client_body;",
        f"client_body_temp_path {place}/client_body;",
    )


def large_request(stack: Stack) -> int | None:
    """The status of a request whose body nginx keeps in a file."""
    return stack.request("POST", "/predict", body=b"x" * 200_000).status


@fault("HST001", sees=lambda stack: large_request(stack) == 500, layout="guide")
def file_system_for_bodies_is_full(stack: Stack) -> None:
    place = small_file_system(stack, "spool", "size=1m")
    buffer_bodies_there(stack, place)
    with contextlib.suppress(OSError), (place / "core.4711").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


@fault("HST001", sees=predicts, severity="warn")
def file_system_has_few_inodes_left(stack: Stack) -> None:
    place = small_file_system(stack, "spool", "size=4m,nr_inodes=200")
    buffer_bodies_there(stack, place)
    (place / "sessions").mkdir()
    facts = os.statvfs(place)
    for number in range(facts.f_favail - facts.f_files // 20):
        (place / "sessions" / str(number)).touch()


# --- memory and processor time: control groups ---


def control_group(stack: Stack, controller: str) -> Path:
    """A group of this stack's own, in whichever version the machine has. Raises NotHereError where none may be made."""
    for root in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup"):
        controllers = Path(root) / "cgroup.subtree_control"
        is_first = (Path(root) / "tasks").exists()
        if not is_first and not (controllers.exists() and controller in controllers.read_text().split()):
            continue
        group = Path(root) / f"gte-lab-{stack.address}"
        try:
            group.mkdir()
        except OSError as error:
            raise NotHereError(
                f"making a control group needs root and a writable hierarchy: {error}"
            ) from error
        stack.at_end(functools.partial(leave, group))
        return group
    raise NotHereError(f"no control group hierarchy here has the {controller} controller")


def leave(group: Path) -> None:
    """Moves whoever is in the group to the one above, and removes it."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):
        group.rmdir()


def enter(group: Path, pids: Iterable[int]) -> None:
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))


def service_pids(stack: Stack) -> list[int]:
    master = stack.gunicorn_master
    return [*([master.pid] if master else []), *(worker.pid for worker in stack.gunicorn_workers)]


@fault("HST002", sees=predicts, severity="warn")
def service_is_near_its_memory_limit(stack: Stack) -> None:
    group = control_group(stack, "memory")
    is_first = (group / "memory.limit_in_bytes").exists()
    # What a process had before it entered is not counted: one that grows inside stands for the model.
    ballast = stack.spawn(
        sys.executable,
        "-c",
        "import sys, time; sys.stdin.close(); time.sleep(0.3); held = bytearray(b'x') * (96 << 20); time.sleep(600)",
    )
    enter(group, [ballast, *service_pids(stack)])
    used = group / ("memory.usage_in_bytes" if is_first else "memory.current")
    wait_for(lambda: int(used.read_text()) > 96 << 20, "the group to fill")
    limit = group / ("memory.limit_in_bytes" if is_first else "memory.max")
    limit.write_text(str(int(int(used.read_text()) / 0.94)))


@fault("HST005", sees=lambda stack: throttled(stack) > 3, severity="warn")
def quota_stops_the_service(stack: Stack) -> None:
    group = control_group(stack, "cpu")
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text("3000 100000")
    else:
        (group / "cpu.cfs_quota_us").write_text("3000")
    enter(group, service_pids(stack))


def throttled(stack: Stack) -> int:
    """How often the quota has stopped the service; a client sees it as a wait."""
    stack.predict()
    for root in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        stat = root / f"gte-lab-{stack.address}" / "cpu.stat"
        if stat.exists():
            return int(dict(line.split() for line in stat.read_text().splitlines())["nr_throttled"])
    return 0


# --- descriptors ---


@fault("HST004", sees=predicts, severity="warn")
def nginx_may_open_few_files(stack: Stack) -> None:
    # Its workers run as another user, whose limits even root may not be allowed to set from outside.
    limit_nginx_files(stack, 256)


def limit_nginx_files(stack: Stack, soft: int) -> None:
    stack.edit(stack.nginx_conf, "worker_processes 1;", f"worker_processes 1;\nworker_rlimit_nofile {soft};")


@fault("HST004", sees=predicts, severity="warn")
def gunicorn_uses_most_of_its_files(stack: Stack) -> None:
    for worker in stack.gunicorn_workers:
        limit_files(worker, worker.num_fds() + 8)


def limit_files(process: psutil.Process, soft: int) -> None:
    """As prlimit(1) does it, to a process that runs."""
    _, hard = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (soft, hard))


@fault("HST004", sees=lambda stack: stack.predict(timeout=2.0).status == 500, explains=("NGX015",))
def nginx_has_used_up_its_files(stack: Stack) -> None:
    soft = 64
    limit_nginx_files(stack, soft)
    (worker,) = stack.nginx_workers

    def is_one_left() -> bool:
        # The last one is for the client's connection; there is none for the connection to the service.
        if worker.num_fds() < soft - 1:
            hold_connections(stack, 1)
        return worker.num_fds() >= soft - 1

    wait_for(is_one_left, "nginx to use all its descriptors but one", every=0.01)
