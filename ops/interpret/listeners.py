"""Find the processes that accept the connections to an address, and decide whether one is nginx."""

from __future__ import annotations

from ops.facts.base import NotSeen
from ops.facts.host import Listener, Process, Processes
from ops.facts.nginx import Pidfile
from ops.facts.target import Target
from ops.interpret.address import is_wildcard, split_address
from ops.interpret.authority import is_nginx_program, speaks_for_host
from ops.interpret.nginx import serving_masters, title


def taking(processes: Processes, address: str) -> tuple[Listener, ...]:
    """Return the listening sockets that accept a connection to ``address``: its own, else wildcards of its own family,
    else wildcards of the other (ipv6(7), IPV6_V6ONLY)."""
    host, port = split_address(address)
    same_port = [
        item
        for item in processes.listeners
        if not item.address.startswith("unix:") and split_address(item.address)[1] == port
    ]
    own = tuple(item for item in same_port if split_address(item.address)[0] == host)
    everywhere = [item for item in same_port if is_wildcard(split_address(item.address)[0])]
    family = tuple(item for item in everywhere if (":" in split_address(item.address)[0]) == (":" in host))
    # An IPv6 socket may accept IPv4 connections; never the reverse.
    other = tuple(item for item in everywhere if ":" not in host and item not in family)
    return own or family or other


def not_nginx(
    processes: Processes, address: str, target: Target, pidfile: Pidfile | NotSeen
) -> tuple[Process, ...]:
    """Return the processes that accept the connections to ``address`` if none is the nginx of this configuration.

    Empty if that nginx is among them, if no process was seen, if an nginx of this host is not known to run another
    configuration, or if systemd (pid 1), which holds sockets for other programs, is among them."""
    pids = {pid for item in taking(processes, address) for pid in item.pids}
    owners = tuple(p for p in processes.processes if p.pid in pids)
    masters = {master.pid for master in serving_masters(target, processes, pidfile)}
    if any(p.pid == 1 or {p.pid, p.ppid} & masters or _may_be_ours(p, processes, target) for p in owners):
        return ()
    return owners


def _may_be_ours(process: Process, processes: Processes, target: Target) -> bool:
    """Whether a process is an nginx of this host that may run the configuration under diagnosis, by its known facts."""
    if not speaks_for_host(process, processes.caller) or not is_nginx_program(process.executable):
        return False
    if not title(process).startswith("nginx: "):
        return False
    master = process
    if not title(process).startswith("nginx: master process"):
        master = next((p for p in processes.processes if p.pid == process.ppid), process)
    arguments = title(master).partition(" -c ")[2].split()
    if arguments and arguments[0].startswith("/"):
        return arguments[0] == target.nginx_config_file
    return master.executable in (None, target.nginx_binary) or not target.nginx_binary.startswith("/")


def described(process: Process) -> str:
    """Return one line about a process: pid, name, user, and its container or unit."""
    belongs = [f"user {process.user}"]
    if process.container or process.is_nested or process.has_other_root:
        belongs.append(f"container {process.container or '?'}")
    elif process.unit:
        belongs.append(process.unit)
    return f"pid {process.pid} ({process.name}, {', '.join(belongs)})"
