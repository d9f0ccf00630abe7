"""A service under the watchdog, run by root or a user of its own, with other tenants' services beside it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.lab.faults.app import PLAIN_APP
from tests.lab.stack import Report, Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import FAILING, HEALTHY, RECOVERED, told

# A round that acts waits for a doctor (6 s) and a start; one that hangs is found by this.
ROUND_SECONDS = 30.0
BACK_WITHIN = 25.0


class Service(Stack):
    """A stack whose gunicorn runs as ``uid`` and has directories of its own; the watchdog's state is root's."""

    def __init__(self, uid: int = 0, *, named: Mapping[str, str] | None = None, **options: Any) -> None:
        """``named``: further keys of [gunicorn], files below ``own``, a directory of the service's user."""
        self.uid, self._named = uid, dict(named or {})
        super().__init__(**({"app": PLAIN_APP} | options))
        if uid:
            self.launcher = as_user(uid)

    def _lay_out(self) -> None:
        super()._lay_out()
        self.state = self.directory / "state"
        self.state.mkdir()
        self.config["watchdog"] |= {
            "state_file": str(self.state / "watchdog.json"),
            "failures": 2,
            "interval": "1s",
        }
        self.config["app"] |= {"request_deadline": "2s", "boot_deadline": "5s"}
        self.own = self.directory / "own"
        self.own.mkdir()
        for key, name in self._named.items():
            self.config["gunicorn"][key] = str(self.own / name)
            (self.own / name).touch()
            own(self.own / name, self.uid)
        if not self.service:
            self.config["target"]["ready_path"] = "/health"
        self.write_config()
        for directory in (self.app_dir, self.logs, self.run, self.progress_dir, self.own):
            os.chown(directory, self.uid, self.uid)

    def log_to(self, log: Path) -> None:
        """Has gunicorn log there from its next start."""
        text = self.gunicorn_conf.read_text().splitlines()
        lines = [f"errorlog = {str(log)!r}" if line.startswith("errorlog") else line for line in text]
        self.gunicorn_conf.write_text("\n".join(lines) + "\n")


@contextmanager
def supervised(uid: int = 0, **options: Any) -> Iterator[Service]:
    """A service that the watchdog has seen healthy once."""
    with Service(uid, **options) as up:
        first = look(up)
        assert first.exit_code == HEALTHY, told(first)
        yield up


def as_user(uid: int) -> list[str]:
    """What is put before a command line to run it as a user without any privilege."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]


def look(service: Service, *, environment: Mapping[str, str] | None = None) -> Report:
    """One round from cron. Raises NotInTimeError where it does not end."""
    output = service.logs.parent / f"watchdog-{time.monotonic_ns()}.log"
    began = time.monotonic()
    command = [
        sys.executable,
        "-P",
        "-m",
        "ops.cli",
        "watchdog",
        "--config",
        str(service.config_file),
        "--once",
    ]
    pid = service.keeper.spawn(
        command, cwd=service.directory, env=environment or service.environment(), output=output
    )
    wait_for(lambda: service.keeper.exit_code(pid) is not None, "the round to end", within=ROUND_SECONDS)
    code = service.keeper.exit_code(pid)
    assert code is not None
    said = output.read_text()
    return Report({}, code, time.monotonic() - began, said, said)


def comes_back(service: Service, **options: Any) -> list[Report]:
    """Rounds until the service answers again. Raises AssertionError where one calls it well before, or none helps."""
    rounds: list[Report] = []
    give_up = time.monotonic() + BACK_WITHIN
    while time.monotonic() < give_up:
        rounds.append(look(service, **options))
        serves = answers(service)
        assert serves or rounds[-1].exit_code not in (HEALTHY, RECOVERED), "\n".join(map(told, rounds))
        if serves and rounds[-1].exit_code != FAILING:
            return rounds
    raise AssertionError("\n".join(map(told, rounds)))


def answers(service: Service) -> bool:
    """Whether the service itself does."""
    return service.request(path="/health", door="backend", timeout=2).status == 200


class Tenant:
    """Another gunicorn of the machine, with its own directory, port and user."""

    def __init__(
        self, service: Service, *, uid: int = 0, name: str = "tenant", options: tuple[str, ...] = ()
    ) -> None:
        self.home = service.directory / name
        self.home.mkdir(exist_ok=True)
        if not (self.home / "app.py").exists():
            (self.home / "app.py").write_text(PLAIN_APP)
            os.chown(self.home, uid, uid)
        self.bind = f"{service.address}:{service.free_port()}"
        gunicorn = [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            self.bind,
            "--no-control-socket",
            *options,
            "app:app",
        ]
        self.pid = service.spawn(*(as_user(uid) if uid else []), *gunicorn, cwd=self.home)
        service.wait_until_listening(self.bind)
        wait_for(lambda: self.workers, "the tenant's worker")
        self._before = self.processes

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return psutil.Process(self.pid).children()

    @property
    def processes(self) -> list[tuple[int, float]]:
        """Which processes it consists of."""
        master = psutil.Process(self.pid)
        return [(process.pid, process.create_time()) for process in (master, *self.workers)]

    @property
    def is_unharmed(self) -> bool:
        """Whether it consists of the same processes as at first."""
        return self.processes == self._before


def own(path: Path, uid: int) -> Path:
    """Gives a file or link to a user."""
    os.chown(path, uid, uid, follow_symlinks=False)
    return path
