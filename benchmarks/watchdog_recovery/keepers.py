"""The four that look after the service, each configured as its own documentation advises."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.watchdog_recovery.clock import from_wall, now
from benchmarks.watchdog_recovery.service import Service

POLL = 5  # seconds, of all who poll
REQUEST_DEADLINE = BOOT_DEADLINE = 10  # seconds, instead of 120 and 300, so that a trial ends
# What of the watchdog's journal is an action.
ACTION, NOTICED = "act", "state"


@dataclass(frozen=True)
class Action:
    """What a keeper did, and when on the trial's clock."""

    at: float
    what: str


@dataclass(frozen=True)
class Keeper:
    """``start`` brings up the service and the keeper; ``settled`` says that the keeper has seen it well."""

    name: str
    start: Callable[[Service, int], int]
    settled: Callable[[Service], bool]
    polls: bool


def _daemon(service: Service) -> None:
    service.spawn(str(service.start_script), "--daemon", output="start.log")


def write_settings(service: Service, *, poll: int = POLL, within: int = 1800) -> Path:
    """The gte-ops.toml of this instance; ``within``: the budget's time, seconds."""
    home = service.home
    tables: dict[str, dict[str, object]] = {
        "app": {
            "dir": str(home),
            "python": sys.executable,
            "wsgi": "benchmarks.watchdog_recovery.application:app",
            "progress_dir": str(home / "progress"),
            "request_deadline": REQUEST_DEADLINE,
            "boot_deadline": BOOT_DEADLINE,
        },
        "gunicorn": {
            "bind": f"{service.address}:{service.port}",
            "config_file": str(home / "gunicorn.conf.py"),
            "pidfile": str(service.pidfile),
            "access_log": str(home / "access.log"),
            "error_log": str(home / "error.log"),
            "start_command": [str(service.start_script), "--daemon"],
        },
        "watchdog": {"interval": poll, "state_file": str(home / "watchdog.json")},
        "watchdog.restarts": {"within": within},
    }
    path = home / "gte-ops.toml"
    path.write_text(
        "\n".join(
            f"[{table}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
            for table, keys in tables.items()
        )
    )
    return path


def gte_ops(service: Service, within: int, *, poll: int = POLL) -> int:
    """`gte-ops watchdog`, resident; its process id."""
    settings = write_settings(service, poll=poll, within=within)
    _daemon(service)
    return start_gte_ops(service, settings)


def start_gte_ops(service: Service, settings: Path) -> int:
    """The watchdog alone; its process id."""
    program = Path(sys.executable).with_name("gte-ops")
    return service.spawn(str(program), "watchdog", "--config", str(settings), output="keeper.log")


def _gte_ops_settled(service: Service) -> bool:
    try:
        state = json.loads((service.home / "watchdog.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool(state["state"] == "healthy" and state["rounds"] >= 1)


def _monit(service: Service, _within: int) -> int:
    """monit(1), "CONNECTION TESTS" and "FAULT TOLERANCE": a process by its pid file, tested over HTTP.

    The start time-out is the boot deadline that gte-ops gets."""
    home = service.home
    control = home / "monitrc"
    control.write_text(f"""
set daemon {POLL}
set log {home}/monit.log
set pidfile {home}/monit.pid
set idfile {home}/monit.id
set statefile {home}/monit.state
check process gte with pidfile {service.pidfile}
  start program = "{service.start_script} --daemon" with timeout {BOOT_DEADLINE} seconds
  stop program = "{service.stop_script}"
  if failed host {service.address} port {service.port} protocol http request "/health" for 3 cycles then restart
""")
    control.chmod(0o600)
    _daemon(service)
    while not service.pidfile.exists():  # else its first cycle would start a second one
        _wait()
    return service.spawn("/usr/bin/monit", "-I", "-c", str(control), output="keeper.log")


def _monit_settled(service: Service) -> bool:
    """It pauses its connection tests until a process is as old as the start time-out; then one poll more."""
    return now() - service.starts()[0] > BOOT_DEADLINE + POLL + 1


def _supervisor(service: Service, _within: int) -> int:
    """supervisord, "[program:x] Section Settings": autorestart, the rest as it comes; it does not probe."""
    home = service.home
    control = home / "supervisord.conf"
    control.write_text(f"""
[supervisord]
nodaemon = true
logfile = {home}/supervisord.log
pidfile = {home}/supervisord.pid
childlogdir = {home}
[program:gte]
command = {service.start_script}
autorestart = true
""")
    return service.spawn("/usr/bin/supervisord", "-c", str(control), output="keeper.log")


def _gunicorn(service: Service, _within: int) -> int:
    return service.spawn(str(service.start_script), output="start.log")


def _always(_service: Service) -> bool:
    return True


def _wait() -> None:
    import time

    time.sleep(0.02)


KEEPERS = {
    keeper.name: keeper
    for keeper in (
        Keeper("gte-ops", gte_ops, _gte_ops_settled, polls=True),
        Keeper("monit", _monit, _monit_settled, polls=True),
        Keeper("supervisor", _supervisor, _always, polls=False),
        Keeper("gunicorn", _gunicorn, _always, polls=False),
    )
}


def actions(service: Service, keeper: str) -> list[Action]:
    """Every action of the keeper so far: each start of the service after the first, and each signal to a worker."""
    found = [Action(at, "start") for at in service.starts()[1:]]
    # monit's restart is a stop and a start: one action, which begins with the stop.
    for at in service.stops():
        following = next((a for a in found if a.at >= at and a.what == "start"), None)
        if following is not None:
            found.remove(following)
        found.append(Action(at, "restart"))
    if keeper == "gte-ops":
        for at, line in _journal(service):
            # Its full restarts are counted by the start script, from the moment it decided.
            if line["event"] == ACTION:
                if line["rung"] == "restart":
                    following = next((a for a in found if a.at >= at and a.what == "start"), None)
                    if following is not None:
                        found.remove(following)
                found.append(Action(at, str(line["rung"])))
    return sorted(found, key=lambda action: action.at)


def noticed(service: Service, since: float) -> float | None:
    """When gte-ops first said that something is the matter."""
    return next((at for at, line in _journal(service) if at >= since and line["event"] == NOTICED), None)


def has_given_up(service: Service) -> bool:
    """Whether supervisor has put the service into FATAL: "no longer started automatically"."""
    try:
        return "entered FATAL state" in (service.home / "supervisord.log").read_text()
    except FileNotFoundError:
        return False


def _journal(service: Service) -> list[tuple[float, dict[str, object]]]:
    found = []
    for line in (service.home / "keeper.log").read_text(errors="replace").splitlines():
        try:
            document = json.loads(line)
            at = from_wall(datetime.fromisoformat(document["time"]).timestamp())
        except (ValueError, KeyError, TypeError):
            continue
        found.append((at, document))
    return found
