"""Start another version of the service beside the running one, where nobody sends requests, to try it out.

It gets the running master's account, environment, limits and directory, a socket of its own, and one worker; it ends
with this process."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ops.control.account import become
from ops.control.launch import Launch
from ops.errors import OpsError
from ops.files.child import end_with_us, stop
from ops.text.language import Text
from ops.text.sanitize import safe_line

STOP_SECONDS = 15.0
_POLL = 0.1
_LAST_WORDS = 4096
_NICE = 5
# What makes the trial a service of its own: every setting of the service that names a place it writes to or listens at
# (service/settings.py). gunicorn removes a control socket that it meets, and its own at the end, so the trial has none.
# gunicorn's settings from GUNICORN_CMD_ARGS would win.
OWN = {
    "GTE_BIND": "unix:{}/gunicorn.sock",
    "GTE_PIDFILE": "{}/gunicorn.pid",
    "GTE_PROGRESS_DIR": "{}/progress",
    "GTE_METRICS_DIR": "{}/metrics",
    "GTE_ACCESS_LOG": "{}/access.log",
    "GTE_ERROR_LOG": "-",
    "GTE_CONTROL_SOCKET": "off",
}
_WITHOUT = (
    "GUNICORN_CMD_ARGS",
    "GUNICORN_PID",
    "GUNICORN_FD",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "PROMETHEUS_MULTIPROC_DIR",
)


class TrialError(OpsError):
    """The version that was tried does not serve."""


@contextlib.contextmanager
def trial(
    program: Path, arguments: str, launch: Launch, is_ready: Callable[[str], bool], seconds: float
) -> Iterator[str]:
    """Run ``program`` (gunicorn) until the block ends; yields its address once ``is_ready`` says so of it. Raises
    TrialError with its last words."""
    directory = Path(
        tempfile.mkdtemp(prefix="gte-ops-trial-", dir="/run" if os.access("/run", os.W_OK) else None)
    )
    try:
        # Opened before the directory is the account's, which could put a link there.
        with (directory / "output").open("w+b") as output:
            if os.geteuid() == 0:
                os.chown(directory, launch.account.uid, launch.account.gid)
            process = _start((str(program), *shlex.split(arguments)), launch, directory, output.fileno())
            try:
                address = OWN["GTE_BIND"].format(directory)
                _wait(process, address, is_ready, seconds, output.fileno())
                yield address
            finally:
                stop(process, STOP_SECONDS)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def trial_variables(running: Mapping[bytes, bytes], directory: Path) -> dict[bytes, bytes]:
    """The environment of a trial beside a service that runs with ``running``."""
    variables = {name: value for name, value in running.items() if os.fsdecode(name) not in _WITHOUT}
    variables |= {name.encode(): value.format(directory).encode() for name, value in OWN.items()}
    variables[b"GTE_WORKERS"] = b"1"
    return variables


def _start(argv: Sequence[str], launch: Launch, directory: Path, output: int) -> subprocess.Popen[bytes]:
    variables = trial_variables(launch.variables, directory)
    tie = end_with_us(signal.SIGTERM)
    kinds = {name: getattr(resource, name) for name in launch.limits if hasattr(resource, name)}

    def enter() -> None:
        os.nice(_NICE)
        for name, kind in kinds.items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, launch.limits[name])
        if os.geteuid() == 0:
            become(launch.account)
        os.chdir(launch.cwd)
        # A change of user clears it (prctl(2)).
        tie()

    try:
        return subprocess.Popen(
            argv,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=enter,
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = safe_line(str(error))
        raise TrialError(
            Text(en=f"{argv[0]} cannot be started: {words}", zh=f"{argv[0]} 无法启动：{words}")
        ) from None


def _wait(
    process: subprocess.Popen[bytes],
    address: str,
    is_ready: Callable[[str], bool],
    seconds: float,
    output: int,
) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready(address):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            why = _last_words(output)
            raise TrialError(
                Text(
                    en=f"the new version does not start: {why}" if ended else f"not ready in time: {why}",
                    zh=f"新版本无法启动：{why}" if ended else f"未能及时就绪：{why}",
                )
            )
        time.sleep(_POLL)


def _last_words(output: int) -> str:
    """The last line that it printed which tells something; gunicorn's own last line does not say why."""
    with contextlib.suppress(OSError):
        start = max(0, os.fstat(output).st_size - _LAST_WORDS)
        text = os.pread(output, _LAST_WORDS, start).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if not line.startswith("[") or "[ERROR]" in line]
        errors = [line for line in telling if "Error" in line or line.startswith("service:")]
        return safe_line((errors or telling or lines or [""])[-1], 300)
    return ""
