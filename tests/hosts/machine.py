"""One test host, driven from a test: commands in it, its files, the doctor on it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hosts.host import HOME
from tests.hosts.layer import DOMAIN
from tests.lab.stack import Report
from tests.lab.waiting import wait_for

HOST = str(Path(__file__).with_name("host.py"))
GTE_OPS = "/opt/gte-api/venv/bin/gte-ops"
COMMAND_SECONDS = 120.0
_numbers = itertools.count(1)


class HostError(AssertionError):
    """A command on a host, or on its behalf, failed; the message ends with what it printed."""


class Machine:
    """A host, up between ``with`` and its end. ``layer``: the files that lie over the image's (`make_layer`);
    ``packages``: what the image has beside the usual, with commas; ``memory``: of a virtual machine, in MiB. Without it
    the host is a container."""

    def __init__(
        self, layer: Path | None = None, *, suite: str = "bookworm", packages: str = "", memory: int = 0
    ) -> None:
        self.name = f"t{os.getpid()}x{next(_numbers)}"
        self._options = [
            *("--suite", suite),
            *(["--layer", str(layer)] if layer else []),
            *(["--with", packages] if packages else []),
            *(["--vm", "--memory", str(memory)] if memory else []),
        ]

    def __enter__(self) -> Self:
        _host("up", self.name, *self._options, seconds=900.0)
        self.sh(f"echo '127.0.0.1 {DOMAIN}' >>/etc/hosts")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _host("down", self.name)

    @property
    def address(self) -> str:
        """Its address on the bridge between hosts."""
        return str(json.loads((HOME / "hosts" / self.name / "host.json").read_text())["address"])

    def run(
        self, *command: str, check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there as root. Raises HostError if it fails and ``check`` is set."""
        return _host("exec", self.name, "--", *command, check=check, seconds=seconds)

    def sh(self, script: str, *, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
        """Run a shell script there, and return its standard output. Raises HostError like `run`."""
        return self.run("sh", "-c", script, check=check, seconds=seconds).stdout

    def write(self, path: str, text: str) -> None:
        """Write a file there, with its directory."""
        command = ["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path]
        subprocess.run(
            [sys.executable, HOST, "exec", self.name, "--", *command],
            input=text,
            text=True,
            check=True,
            timeout=COMMAND_SECONDS,
        )

    def copy_in(self, source: Path, directory: str) -> None:
        """Copy a file or a directory into a directory there."""
        _host("copy-in", self.name, str(source), directory)

    def copy_out(self, source: str, directory: Path) -> None:
        """Copy a file or a directory from there into a directory here."""
        _host("copy-out", self.name, source, str(directory))

    def show(self, unit: str, name: str) -> str:
        """One property of a unit (systemctl show)."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def answers(self, path: str = "/health") -> int:
        """The status that nginx answers a request for the site with; 0 for none."""
        address = f"{DOMAIN}:443:127.0.0.1"
        told = self.run(
            *("curl", "--silent", "--cacert", "/etc/gte-ops/ca.pem", "--resolve", address),
            *("--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "5"),
            f"https://{DOMAIN}{path}",
            check=False,
        )
        return int(told.stdout or 0)

    def answers_outside(self, path: str = "/health") -> int:
        """The status that another host on the same bridge gets; 0 for none."""
        facts = json.loads((HOME / "hosts" / self.name / "host.json").read_text())
        told = subprocess.run(
            [
                *(
                    "ip",
                    "netns",
                    "exec",
                    facts["bridge"],
                    "curl",
                    "--silent",
                    "--insecure",
                    "--max-time",
                    "3",
                ),
                *("--resolve", f"{DOMAIN}:443:{facts['address']}", "--output", "/dev/null"),
                *("--write-out", "%{http_code}", f"https://{DOMAIN}{path}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        return int(told.stdout or 0)

    def wait_until_serving(self) -> None:
        """Wait until the service is ready behind nginx. Raises HostError with its journal if that takes too long."""
        try:
            wait_for(lambda: self.answers("/ready") == 200, "the service to be ready", within=90, every=0.3)
        except AssertionError as error:
            shown = self.sh("journalctl --no-pager -n 30 -u gte-api; systemctl --failed", check=False)
            raise HostError(f"{error}\n{shown}") from None

    def doctor(self, *options: str) -> Report:
        """Run the doctor there."""
        ran = self.run(GTE_OPS, "doctor", "--format", "json", *options, check=False)
        try:
            report: dict[str, Any] = json.loads(ran.stdout)
        except ValueError:
            raise HostError(f"the doctor: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}") from None
        seconds = float(report.get("duration_ms", 0.0)) / 1000
        return Report(report, ran.returncode, seconds, ran.stdout, ran.stderr)


def clear_up() -> None:
    """Take down the hosts of test runs that have ended without doing so."""
    for line in _host("list").stdout.splitlines():
        name = line.split()[0]
        pid = name.lstrip("t").partition("x")[0]
        if name.startswith("t") and pid.isdigit() and not Path("/proc", pid).exists():
            _host("down", name, check=False)


def _host(
    *words: str, check: bool = True, seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [sys.executable, HOST, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and ran.returncode:
        raise HostError(f"{' '.join(words)}: exit {ran.returncode}\n{ran.stdout[-4000:]}{ran.stderr[-4000:]}")
    return ran
