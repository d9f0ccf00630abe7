"""A full restart, through whoever supervises the service: its systemd unit, else the configured start command."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OpsError
from ops.remedies.signals import end, kill
from ops.settings import Settings
from ops.topology.identity import Identity

# How long a master that still reacts gets to end in order, seconds.
GRACE = 8.0
PORT_FREE_WITHIN = 5.0
# sd_booted(3): this directory exists exactly where systemd is the init.
SYSTEMD_RUNS = Path("/run/systemd/system")
SYSTEMCTL_SECONDS = 60.0
# A start command that fails usually does so at once; one that stays in the foreground is left running.
FAILS_WITHIN = 1.0
MAX_OUTPUT_BYTES = 1 << 20
# Ours, and not the service's: with these, gunicorn would report to the watchdog's own systemd unit.
_NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


class RestartError(OpsError):
    """The service could not be started; the message says where it failed."""


@dataclass(frozen=True)
class Supervisor:
    """How the service is started: ``unit`` of systemd, else ``argv`` in ``cwd``, its output appended to ``output``."""

    unit: str | None
    argv: tuple[str, ...]
    cwd: str | None
    output: Path


def find_supervisor(settings: Settings, output: Path) -> Supervisor | None:
    """The service's supervisor; None where neither a unit nor a start command is there."""
    if settings.gunicorn.unit and SYSTEMD_RUNS.is_dir():
        for place in settings.schedule.systemd:
            if (Path(place) / settings.gunicorn.unit).exists():
                return Supervisor(settings.gunicorn.unit, (), None, output)
    given = settings.gunicorn.start_command
    try:
        argv = tuple(shlex.split(given) if isinstance(given, str) else given)
    except ValueError:
        return None
    if not argv:
        return None
    cwd = settings.app.dir if settings.app.dir and Path(settings.app.dir).is_dir() else None
    return Supervisor(None, argv, cwd, output)


def restart(
    supervisor: Supervisor,
    *,
    master: Identity | None,
    workers: Iterable[Identity],
    reacts: bool,
    is_free: Callable[[], bool],
) -> subprocess.Popen[bytes] | None:
    """Take down what is left, wait until the port is free, and start anew.

    ``reacts``: whether the master can be asked to end (a stopped or hung one is killed). ``is_free``: whether the
    service's address is free. Returns the started command where it still runs: it is the caller's child, in its own
    session, and not ended with the caller. Raises RestartError or NotAllowedError."""
    left = end((master,), GRACE) if master and reacts else kill((master,)) if master else ()
    # Workers see that their master has gone and end by themselves, but not the stuck ones: those hold the port.
    left += kill(workers)
    if left:
        raise RestartError(
            f"process {left[0].pid} survives SIGKILL (uninterruptible sleep); a start would meet it"
        )
    deadline = time.monotonic() + PORT_FREE_WITHIN
    while not is_free():
        if time.monotonic() > deadline:
            raise RestartError(
                "the service's address is still held after its processes ended; nothing was started"
            )
        time.sleep(0.05)
    return start(supervisor)


def remove_stale_pidfile(path: Path) -> bool:
    """Remove a pidfile whose pid has become a program's that is no gunicorn; whether there was such a one.

    gunicorn takes any live process for its running self, and refuses to start (gunicorn, pidfile.py)."""
    import psutil

    try:
        process = psutil.Process(int(path.read_text()))
        if any("gunicorn" in word for word in (process.name(), *process.cmdline())):
            return False
        path.unlink()
    except (OSError, ValueError, psutil.Error):
        return False
    return True


def start(supervisor: Supervisor) -> subprocess.Popen[bytes] | None:
    """Start the service. Raises RestartError where the supervisor or the command refuses."""
    if supervisor.unit is not None:
        _systemctl("reset-failed", supervisor.unit, check=False)
        _systemctl("restart", supervisor.unit, check=True)
        return None
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    try:
        if supervisor.output.exists() and supervisor.output.stat().st_size > MAX_OUTPUT_BYTES:
            supervisor.output.unlink()
        output = os.open(supervisor.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            supervisor.argv,
            cwd=supervisor.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise RestartError(f"{supervisor.argv[0]}: {error.strerror or error}") from None
    finally:
        os.close(output)
    try:
        code = process.wait(timeout=FAILS_WITHIN)
    except subprocess.TimeoutExpired:
        return process
    if code != 0:
        raise RestartError(f"{supervisor.argv[0]} ended with exit code {code}; see {supervisor.output}")
    return None


def _systemctl(verb: str, unit: str, *, check: bool) -> None:
    try:
        ran = subprocess.run(
            ["systemctl", verb, unit],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if check:
            raise RestartError(f"systemctl {verb} {unit}: {error}") from None
        return
    if check and ran.returncode != 0:
        raise RestartError(f"systemctl {verb} {unit}: {ran.stderr.strip()[:200]}")
