"""One instance of the service under test: its directory, its address, and what it wrote down."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.keeper import Keeper

ROOT = Path(__file__).resolve().parents[2]
WORKERS, THREADS = 2, 4
GUNICORN_TIMEOUT = 30  # the goal's "gunicorn alone (timeout 30)"; its default too
CONFIGURATION = """
from service.gunicorn_conf import *
bind = "{address}:{port}"
pidfile = "{home}/gunicorn.pid"
accesslog = "{home}/access.log"
errorlog = "{home}/error.log"
workers = {workers}
worker_class = "gthread"
threads = {threads}
timeout = {timeout}
"""
START = """#!/bin/sh
# Every keeper starts the service by this script, so that starts are counted alike.
cut -d' ' -f1 /proc/uptime >> {home}/starts
cd {home} || exit 1
{environment}
exec {python} -m gunicorn -c {home}/gunicorn.conf.py "$@" benchmarks.watchdog_recovery.application:app
"""
STOP = """#!/bin/sh
cut -d' ' -f1 /proc/uptime >> {home}/stops
kill -TERM "$(cat {home}/gunicorn.pid)"
"""


@dataclass(frozen=True)
class Event:
    """One line of the ledger."""

    at: float
    pid: int
    what: str
    request: int | None


class Service:
    """An instance, with everything it writes under ``home``. ``close`` ends it and whatever was started for it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="gte-recovery-"))
        self.keeper = Keeper(self.home)
        # A loopback address of its own: nobody else's ports are met there.
        number = secrets.randbelow(1 << 23) | 1 << 23
        self.address = f"127.{number >> 16}.{number >> 8 & 255}.{max(1, number & 255)}"
        with socket.socket() as probe:
            probe.bind((self.address, 0))
            self.port = int(probe.getsockname()[1])
        (self.home / "progress").mkdir()
        (self.home / "gunicorn.conf.py").write_text(
            CONFIGURATION.format(
                address=self.address,
                port=self.port,
                home=self.home,
                workers=WORKERS,
                threads=THREADS,
                timeout=GUNICORN_TIMEOUT,
            )
        )
        exports = "\n".join(
            f"export {name}={shlex.quote(value)}" for name, value in self.environment().items()
        )
        self.start_script = self._script("start", START, environment=exports, python=sys.executable)
        self.stop_script = self._script("stop", STOP)

    def close(self) -> None:
        """Kill everything below the keeper, and remove the directory."""
        self.keeper.close()

    def environment(self) -> dict[str, str]:
        """What its processes, and the keepers', get."""
        return {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "BENCHMARK_HOME": str(self.home),
            "GTE_PROGRESS_DIR": str(self.home / "progress"),
            "GTE_METRICS_DIR": str(self.home / "metrics"),
            "GTE_THREADS": str(THREADS),
        }

    def spawn(self, *argv: str, output: str) -> int:
        """Start a program below the keeper; its process id."""
        return self.keeper.spawn(argv, cwd=self.home, env=self.environment(), output=self.home / output)

    @property
    def pidfile(self) -> Path:
        """gunicorn's."""
        return self.home / "gunicorn.pid"

    def master(self) -> int:
        """The master's process id."""
        return int(self.pidfile.read_text())

    def events(self) -> list[Event]:
        """The ledger so far."""
        found = []
        try:
            lines = (self.home / "ledger").read_text().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            at, pid, what, *request = line.split()
            found.append(Event(float(at), int(pid), what, int(request[0]) if request else None))
        return found

    def starts(self) -> list[float]:
        """When the service was started, by whomever, on the trial's clock."""
        return self._times("starts")

    def stops(self) -> list[float]:
        """When monit's stop program ran."""
        return self._times("stops")

    def _times(self, name: str) -> list[float]:
        try:
            return [float(line) for line in (self.home / name).read_text().split()]
        except FileNotFoundError:
            return []

    def _script(self, name: str, text: str, **values: str) -> Path:
        path = self.home / name
        path.write_text(text.format(home=self.home, **values))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path
