"""How the program that holds a port is ended without ending others: its container, its unit, or the process alone."""

from __future__ import annotations

import re
import shlex

from ops.facts.host import Process, Processes

# The processes that stand before a container for its published ports: of rootless podman, docker and nerdctl.
_ROOTLESS = ("rootlessport", "rootlesskit", "slirp4netns", "pasta")
# Units whose end is the end of every container on the host.
_ENGINES = re.compile(
    r"(?:snap\.)?(?:docker|dockerd|containerd|podman|lxd|incus|crio|cri-o|k3s|rke2|kubelet)\b"
)


def is_of_container(process: Process) -> bool:
    """Whether a process runs in a container, publishes a container's port, or belongs to a container engine."""
    return bool(
        process.container
        or process.is_nested
        or process.name.startswith(("docker-proxy", "conmon", *_ROOTLESS))
        or (process.unit and _ENGINES.match(process.unit))
    )


def container_stop(process: Process, port: int) -> str | None:
    """The command that stops the one container which has ``port`` of the host by this process; None if it cannot be
    named."""
    if process.container:
        return f"docker stop {process.container} || podman stop {process.container}"
    if process.name.startswith("docker-proxy"):
        return f"docker stop $(docker ps -q --filter publish={port})"
    if process.name.startswith("conmon"):
        options = dict(zip(process.command, process.command[1:], strict=False))
        container = options.get("-n") or options.get("-c")
        return f"podman stop {shlex.quote(container)}" if container else None
    if process.name.startswith(_ROOTLESS):
        engine = "docker" if process.name.startswith("rootlesskit") else "podman"
        ids = f"{engine} ps --format '{{{{.ID}}}} {{{{.Ports}}}}' | awk '/:{port}->/ {{print $1}}'"
        line = f"{engine} stop $({ids})"
        return line if process.uid == 0 else f"runuser -l {shlex.quote(process.user)} -c {shlex.quote(line)}"
    return None


def own_unit(process: Process, table: Processes) -> str | None:
    """The unit whose end is the end of this program and of no other; None if it has none, or one with more in it (cron,
    supervisord, a container engine, a script that starts several)."""
    if process.unit is None or _ENGINES.match(process.unit):
        return None
    by_pid = {each.pid: each for each in table.processes}
    first = process
    while (parent := by_pid.get(first.ppid)) and parent.pid != 1 and parent.unit == process.unit:
        if parent.executable is None or parent.executable != first.executable:
            return None
        first = parent
    listening = {pid for item in table.listeners for pid in item.pids}
    others = [
        each
        for each in table.processes
        if each.unit == process.unit and each.pid in listening and each.executable != process.executable
    ]
    return process.unit if first.ppid == 1 and not others else None
