#!/usr/bin/env python3
"""Test hosts with systemd as process 1, in seconds. As root; README.md tells more.

host up NAME [--count N] [--vm] [--suite SUITE] [--with PACKAGE,...] [--memory MIB]   NAME, or NAME1 to NAMEN
      [--layer DIRECTORY]      its files lie over the image's (containers alone)
host exec NAME -- COMMAND...     run it there as root, whatever the network does; its exit code is ours
host ssh NAME [-- COMMAND...]    the same through sshd
host copy-in NAME SOURCE... DIRECTORY         host copy-out NAME SOURCE... DIRECTORY
host list
host down NAME|all"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("GTE_HOSTS_DIR", "/var/tmp/gte-hosts"))
# A /24 that exists in our own network namespaces alone.
SUBNET = os.environ.get("GTE_HOSTS_SUBNET", "10.99.0")
KEY = HOME / "key"
BOOT_SECONDS = {"container": 60, "vm": 300}
DOWN_SECONDS = 30
TOOLS = {"unshare": "util-linux", "ip": "iproute2", "capsh": "libcap2-bin", "ssh": "openssh-client"}
# A container's kernel and clock are this machine's: what would reach them is taken away from whatever runs in it. Kept
# is what systemd, sshd, nftables and the sandboxes of units need.
LIMITED = [
    "capsh",
    "--drop=cap_sys_time,cap_wake_alarm,cap_sys_module,cap_sys_boot,cap_sys_rawio,cap_syslog,cap_mknod,"
    "cap_mac_admin,cap_mac_override,cap_perfmon,cap_bpf,cap_block_suspend,cap_audit_control",
]
ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
]
# Enters control groups, given as $1, before the command.
JOIN = 'for g in $1; do mkdir -p "$g/$0" && echo $$ >"$g/$0/cgroup.procs" || exit 1; done; shift; exec "$@"'


class RefusedError(Exception):
    """What the person who called is told, without a traceback."""


def run(*command: str, check: bool = True, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout
    )
    if check and result.returncode:
        raise RefusedError(f"{shlex.join(command)}: {result.stderr.strip() or result.returncode}")
    return result


def start_ticks(pid: int) -> str | None:
    """When a process began, in clock ticks: with its pid, an identity that is unique. None: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Host:
    """One host. Its host.json lists what is made for it, beforehand. ``bridge``: the namespace with the bridge."""

    def __init__(self, bridge: str, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name) or name == "all":
            raise RefusedError(
                f"{name!r}: a name is up to 20 small letters, digits and hyphens, and not 'all'"
            )
        self.bridge, self.name, self.dir = bridge, name, HOME / "hosts" / name
        self.netns, self.facts = f"{bridge}-{name}", {}
        with contextlib.suppress(OSError, ValueError):
            self.facts = json.loads((self.dir / "host.json").read_text())

    def note(self, **facts: object) -> None:
        self.facts |= facts
        (self.dir / "host.json.new").write_text(json.dumps(self.facts))
        (self.dir / "host.json.new").replace(self.dir / "host.json")

    def is_up(self) -> bool:
        return (
            self.facts.get("start_ticks") is not None
            and start_ticks(self.facts["pid"]) == self.facts["start_ticks"]
        )

    def process_1(self) -> str:
        """A container's systemd, as this machine numbers it: the only child of unshare. Empty where there is none."""
        with contextlib.suppress(OSError):
            if self.is_up():
                return Path("/proc/{0}/task/{0}/children".format(self.facts["pid"])).read_text().strip()
        return ""

    def ssh(self, argv: list[str]) -> list[str]:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=5",
            f"IdentityFile={KEY}",
        ]
        return [
            "ip",
            "netns",
            "exec",
            self.bridge,
            "ssh",
            *(f"-o{option}" for option in options),
            f"root@{self.facts.get('address')}",
            *([shlex.join(argv)] if argv else []),
        ]

    def command(self, argv: list[str]) -> list[str]:
        """What runs ``argv`` there: in a container as one of its own processes; in a virtual host through sshd."""
        if self.facts.get("kind") == "vm":
            return self.ssh(argv)
        if not (leader := self.process_1()):
            raise RefusedError(f"{self.name} does not run: host down {self.name}, then up")
        enter = ["-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", "--root", "--wdns=/root"]
        return [
            "sh",
            "-c",
            JOIN,
            "exec",
            " ".join(self.facts["groups"]),
            *LIMITED,
            "--shell=/usr/bin/nsenter",
            "--",
            *enter,
            "env",
            "-i",
            *ENVIRONMENT,
            *argv,
        ]

    def up(self, number: int, image: Path, memory: int, layer: str | None = None) -> None:
        """Start it, and do not wait. ``image``: a tree, or the directory with a virtual host's files; ``layer``: a
        directory whose files lie over a tree's."""
        virtual, port = image.suffix == ".vm", f"v{number}"
        self.dir.mkdir()
        self.note(
            kind="vm" if virtual else "container",
            image=image.name,
            number=number,
            address=f"{SUBNET}.{number}",
            bridge=self.bridge,
            groups=[] if virtual else control_groups(self.netns),
        )
        if virtual:
            run("ip", "-n", self.bridge, "tuntap", "add", port, "mode", "tap")
        else:
            run("ip", "netns", "add", self.netns)
            run(*f"ip link add eth0 netns {self.netns} type veth peer {port} netns {self.bridge}".split())
            for words in (
                f"addr add {SUBNET}.{number}/24 dev eth0",
                "link set lo up",
                "link set eth0 up",
                f"route add default via {SUBNET}.1",
            ):
                run("ip", "-n", self.netns, *words.split())
        run("ip", "-n", self.bridge, "link", "set", port, "master", "br0", "up")
        key = KEY.with_suffix(".pub").read_text().strip()
        command = (
            self.emulator(image, memory, port, key)
            if virtual
            else self.namespaces(f"{layer}:{image}" if layer else str(image), key)
        )
        with (self.dir / "console.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"TMPDIR": str(self.dir)},
            )
        self.note(pid=process.pid, start_ticks=start_ticks(process.pid))

    def namespaces(self, trees: str, key: str) -> list[str]:
        for part in ("upper", "work", "root"):
            (self.dir / part).mkdir()
        return [
            "sh",
            "-c",
            JOIN,
            ".",
            " ".join(self.facts["groups"]),
            "ip",
            "netns",
            "exec",
            self.netns,
            "unshare",
            "--fork",
            "--kill-child",
            "--pid",
            "--mount",
            "--propagation",
            "private",
            "--uts",
            "--ipc",
            "--cgroup",
            *LIMITED,
            "--shell=/bin/sh",
            "--",
            str(HERE / "container-init"),
            trees,
            str(self.dir),
            self.name,
            key,
        ]

    def emulator(self, image: Path, memory: int, port: str, key: str) -> list[str]:
        line = (
            f"console=ttyS0 quiet net.ifnames=0 gteh.name={self.name} gteh.address={self.facts['address']}/24 "
            f"gteh.gateway={SUBNET}.1 gteh.key={key.replace(' ', ',')}"
        )
        # Emulated: /dev/kvm is not everywhere, nor able to start Debian's kernel wherever it is. snapshot=on: what the
        # host writes goes to a nameless file in TMPDIR.
        return [
            "ip",
            "netns",
            "exec",
            self.bridge,
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            str(memory),
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-kernel",
            f"{image}/vmlinuz",
            "-initrd",
            f"{image}/initrd",
            "-append",
            line,
            "-drive",
            f"file={image}/root.ext4,if=virtio,format=raw,snapshot=on",
            "-netdev",
            f"tap,id=n,ifname={port},script=no,downscript=no",
            "-device",
            f"virtio-net-pci,netdev=n,mac=52:54:00:99:00:{self.facts['number']:02x}",
        ]

    def wait(self) -> str:
        """What systemd says once the boot has ended: running, or degraded."""
        deadline = time.monotonic() + BOOT_SECONDS[self.facts["kind"]]
        while self.is_up() and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired, RefusedError):
                state = run(
                    *self.command(["systemctl", "is-system-running", "--wait"]),
                    check=False,
                    timeout=deadline - time.monotonic(),
                ).stdout.strip()
                if state in ("running", "degraded"):
                    return state
            time.sleep(0.1)
        tail = (self.dir / "console.log").read_text(errors="replace").splitlines()[-15:]
        raise RefusedError("\n".join([f"{self.name} did not come up:", *tail]))

    def down(self) -> None:
        """Shuts it down, by force where it will not, and removes all that was made for it. Can be repeated."""
        if self.is_up():
            if self.facts["kind"] == "vm":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run(*self.ssh(["systemctl", "poweroff"]), check=False, timeout=20)
            elif leader := self.process_1():
                os.kill(int(leader), signal.SIGRTMIN + 4)  # systemd(1): power off
            wait_until(lambda: not self.is_up(), DOWN_SECONDS)
            if self.is_up():
                os.kill(
                    self.facts["pid"], signal.SIGKILL
                )  # process 1 dies with it (--kill-child), all others with that
        for group in map(Path, self.facts.get("groups", [])):
            wait_until(partial(removed, group), 5)  # its last process may just be ending
        if "number" in self.facts:
            run("ip", "-n", self.bridge, "link", "del", f"v{self.facts['number']}", check=False)
        run("ip", "netns", "del", self.netns, check=False)
        shutil.rmtree(self.dir)


def control_groups(name: str) -> list[str]:
    """A group for each hierarchy, below this process's own, so that what limits us limits the host too."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [f"/sys/fs/cgroup/{name}"]
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    places = [
        f"/sys/fs/cgroup/{kind.removeprefix('name=') or 'unified'}{path.rstrip('/')}"
        for _, kind, path in lines
    ]
    # A new group of cpuset takes no process before it is set up.
    return [
        f"{place}/{name}"
        for place in places
        if Path(place, "cgroup.procs").exists() and "/cpuset" not in place
    ]


def removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        for path in [*sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True), group]:
            path.rmdir()
    return not group.exists()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def claim() -> tuple[str, TextIOWrapper]:
    """Our directory, locked; its id is part of the name of all that is made outside of it."""
    mark = HOME / "id"
    if HOME.exists() and not mark.exists() and any(path.name != "images" for path in HOME.iterdir()):
        raise RefusedError(f"{HOME} holds files that are not ours: set GTE_HOSTS_DIR to another directory")
    (HOME / "hosts").mkdir(parents=True, exist_ok=True)
    HOME.chmod(0o700)
    lock = (HOME / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not mark.exists():
        mark.write_text(secrets.token_hex(2))
    if not re.fullmatch(r"[0-9a-f]{4}", mark.read_text()):
        raise RefusedError(f"{mark} is damaged; nothing is touched")
    return f"gteh-{mark.read_text()}", lock


def all_hosts(bridge: str) -> list[Host]:
    return [Host(bridge, path.name) for path in sorted((HOME / "hosts").iterdir())]


def host_named(bridge: str, name: str) -> Host:
    if not (host := Host(bridge, name)).dir.is_dir():
        raise RefusedError(
            f"{name}: no such host; there are: {' '.join(h.name for h in all_hosts(bridge)) or 'none'}"
        )
    return host


def prepare(bridge: str) -> None:
    """The key, and the network: a bridge in a namespace of its own, whence the way out is refused at once."""
    if not KEY.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gteh", "-f", str(KEY))
    if not Path("/run/netns", bridge).exists():
        run("ip", "netns", "add", bridge)
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {SUBNET}.1/24 dev br0",
            "link set br0 up",
            "route add unreachable default",
        ):
            run("ip", "-n", bridge, *words.split())
        run("ip", "netns", "exec", bridge, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")


def settle(bridge: str) -> None:
    """After a change: every running host knows every other by name; the network goes with the last of them."""
    hosts = all_hosts(bridge)
    names = "".join(f"{host.facts['address']} {host.name} # gteh\n" for host in hosts if host.is_up())
    for host in hosts:
        if host.is_up():
            write = host.command(
                ["sh", "-c", "new=$(grep -v '# gteh$' /etc/hosts; cat); echo \"$new\" >/etc/hosts"]
            )
            subprocess.run(write, input=names, text=True, check=False)
    if not hosts:
        run("ip", "netns", "del", bridge, check=False)


def image_of(arguments: argparse.Namespace) -> Path:
    """What the hosts boot from: a tree that is never written to, or the directory with a virtual host's files."""
    tools = TOOLS | ({"qemu-system-x86_64": "qemu-system-x86"} if arguments.vm else {})
    if missing := sorted({package for tool, package in tools.items() if shutil.which(tool) is None}):
        run("apt-get", "-qq", "update")
        run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing)
    options = [
        word
        for pair in (("--suite", arguments.suite), ("--with", arguments.packages))
        if pair[1]
        for word in pair
    ]
    result = subprocess.run(
        [HERE / "make-image", *options, *(["--vm"] if arguments.vm else [])],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"GTE_HOSTS_DIR": str(HOME)},
    )
    if result.returncode:
        raise RefusedError("no image (see above)")
    image = Path(result.stdout.strip())
    if arguments.vm:
        return image
    tree, unfinished = image.with_suffix(".tree"), image.with_suffix(".partial")
    if not tree.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        run("tar", "-C", str(unfinished), "--numeric-owner", "-xf", str(image))
        unfinished.rename(tree)
    return tree


def up(arguments: argparse.Namespace, bridge: str, _: object) -> int:
    names = (
        [f"{arguments.name}{n}" for n in range(1, arguments.count + 1)]
        if arguments.count
        else [arguments.name]
    )
    hosts = [Host(bridge, name) for name in names]
    if old := [host.name for host in hosts if host.dir.exists()]:
        raise RefusedError(f"{old[0]} is there already: host down {old[0]}")
    image = image_of(arguments)
    taken = {host.facts.get("number") for host in all_hosts(bridge)}
    try:
        prepare(bridge)
        start = time.monotonic()
        for host, number in zip(hosts, (n for n in range(11, 250) if n not in taken), strict=False):
            host.up(number, image, arguments.memory, arguments.layer)
        for host in hosts:
            state = host.wait()
            print(
                f"{host.name} {host.facts['address']} {state} after {time.monotonic() - start:.1f} s",
                flush=True,
            )
    except BaseException:
        for host in hosts:
            if host.dir.exists():
                host.down()
        raise
    finally:
        settle(bridge)
    return 0


def down(arguments: argparse.Namespace, bridge: str, _: object) -> int:
    for host in all_hosts(bridge) if arguments.name == "all" else [host_named(bridge, arguments.name)]:
        host.down()
    settle(bridge)
    return 0


def execute(arguments: argparse.Namespace, bridge: str, lock: TextIOWrapper) -> int:
    host = host_named(bridge, arguments.name)
    command = (host.command if arguments.action == "exec" else host.ssh)(arguments.words[1:])
    lock.close()  # others need not wait for the command
    return subprocess.run(command, check=False).returncode


def copy(arguments: argparse.Namespace, bridge: str, _: object) -> int:
    """Through tar: modes, links and owners (by number) stay."""
    host, into = host_named(bridge, arguments.name), arguments.action == "copy-in"
    _, *sources, directory = arguments.words
    unpack = ["tar", "-C", directory, "--numeric-owner", "-xf", "-"]
    for source in sources:
        place, name = os.path.split(os.path.normpath(source))
        pack = ["tar", "-C", place or ".", "--numeric-owner", "-cf", "-", name]
        with subprocess.Popen(pack if into else host.command(pack), stdout=subprocess.PIPE) as sending:
            received = subprocess.run(
                host.command(unpack) if into else unpack, stdin=sending.stdout, check=False
            )
        if received.returncode or sending.returncode:
            raise RefusedError(f"{source} was not copied")
    return 0


def show(_: argparse.Namespace, bridge: str, __: object) -> int:
    for host in all_hosts(bridge):
        facts = (str(host.facts.get(fact, "?")) for fact in ("address", "kind", "image"))
        print(host.name, *facts, "up" if host.is_up() else "not running")
    return 0


DOES = {
    "up": up,
    "exec": execute,
    "ssh": execute,
    "copy-in": copy,
    "copy-out": copy,
    "list": show,
    "down": down,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        usage="\n" + __doc__.partition("\n\n")[2], description=__doc__.partition("\n")[0]
    )
    parser.add_argument("action", choices=DOES)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--vm", action="store_true")
    parser.add_argument("--count", type=int)
    parser.add_argument("--memory", type=int, default=1024)
    parser.add_argument("--suite")
    parser.add_argument("--layer")
    parser.add_argument("--with", dest="packages")
    arguments = parser.parse_args()
    takes = {"list": (0, 0), "up": (1, 1), "down": (1, 1), "exec": (2, 999), "ssh": (1, 999)}.get(
        arguments.action, (3, 999)
    )
    if not takes[0] <= len(arguments.words) <= takes[1]:
        parser.error(f"{arguments.action}: see the lines above")
    arguments.name = arguments.words[0] if arguments.words else ""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if os.geteuid() != 0:
            raise RefusedError("root is needed")
        return DOES[arguments.action](arguments, *claim())
    except RefusedError as refused:
        print(f"host: {refused}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
