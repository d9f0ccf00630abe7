"""Start and end the processes of engines and downloads, and ignore signals in them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])


def start(
    program: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process. Returns it and the worker's end of the channel to it.

    ``program`` is Python's arguments; the number of the process's end of the channel and ``arguments`` follow them.
    ``environment`` is added to the worker's own.
    """
    ours, theirs = socket.socketpair()
    # The service may be importable only by the worker's sys.path (gunicorn's chdir).
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    with theirs:
        process = subprocess.Popen(
            [sys.executable, *program, str(theirs.fileno()), *arguments],
            env={**os.environ, "PYTHONPATH": path, **environment},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return process, ours


def end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """Kill the process, if it still runs."""
    channel.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def end_of_lost(process: subprocess.Popen[bytes], channel: socket.socket, within: float) -> int | None:
    """End a lost process. Returns its status (as ``Popen.returncode``), or None if it still ran and has been killed. A
    process that has just closed its channel is about to end by itself and has ``within`` seconds for it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within)
    status = process.poll()
    end(process, channel)
    return status


def leave_signals_to_the_worker() -> None:
    """In the process: ignore signals to the whole process or control group (Ctrl-C, systemd's stop). The worker handles
    them: it finishes its requests first and ends this process afterwards."""
    for ignored in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(ignored, signal.SIG_IGN)
