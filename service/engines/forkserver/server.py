"""The forkserver in its process: it has loaded a model, computes nothing, and forks an engine for each socket it gets.

An engine has everything in memory from the start, so a lost one is replaced in the time of a fork, and both share one
copy of the weights, because neither writes to them. The forkserver must have one thread when it forks, or the engine
could inherit a lock that no thread will ever release: it loads the model with one thread (``ENVIRONMENT``) and checks.
The web worker's side is ``client``.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Set for the forkserver in addition to the worker's environment.
ENVIRONMENT = {
    # No threads before the fork: OpenMP, and BLAS, which numpy loads. The engine sets its own number.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # On a busy machine threads that spin at a barrier take the core that the last thread needs to reach it. Whatever
    # the environment says: an inherited "active" halves the rate.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",  # else libgomp's own variable would count more than the policy
}

_THREAD_EXIT_TIMEOUT = 1.0  # seconds that a joined thread may still be in /proc/self/task


def serve(control: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Fork for each socket received on ``control``, until the worker closes it. The fork calls ``answer`` with the
    socket, ends when that returns or when the worker closes the socket, and never returns from here."""
    _warn_of_threads()
    # Keep the garbage collector from writing to pages that the engines share.
    gc.collect()
    gc.freeze()
    _fork_on_demand(control, answer)


def _fork_on_demand(control: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    request_fd = control.fileno()
    engines: set[int] = set()
    while True:
        ready, _, _ = select.select([request_fd, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 512)
            for pid, status in _reaped():
                engines.discard(pid)
                send(control, {"ended": pid, "status": status})
        if request_fd not in ready:
            continue
        received, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not received:
            # The worker has ended. An engine that is stopped or stuck does not notice that by itself.
            for pid in engines:
                os.kill(pid, signal.SIGKILL)
            return
        channel = socket.socket(fileno=sockets[0])
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (wake_read, wake_write):
                os.close(inherited)
            control.close()
            _answer(channel, answer)
        channel.close()
        engines.add(pid)
        send(control, {"pid": pid})


def _reaped() -> Iterator[tuple[int, int]]:
    """The children that have ended, each with its status as ``Popen.returncode``."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def _answer(channel: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    try:
        with ending_with(channel):
            answer(channel)
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception:  # noqa: BLE001  the process ends here; the worker's error log must have the cause
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        # Never return into the forkserver's code. _exit, because the interpreter's shutdown takes torch half a second.
        os._exit(0)


@contextlib.contextmanager
def ending_with(channel: socket.socket) -> Iterator[None]:
    """End this process as soon as the worker closes its end of ``channel``, whatever the block is doing."""
    ours, theirs = os.pipe()

    def watch() -> None:
        poll = select.poll()
        poll.register(channel.fileno(), 0)  # POLLHUP and POLLERR are always reported
        poll.register(ours, select.POLLIN)
        if ours not in dict(poll.poll()):
            os._exit(0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.write(theirs, b"\n")
        watcher.join()
        os.close(ours)
        os.close(theirs)


def _warn_of_threads() -> None:
    until = time.monotonic() + _THREAD_EXIT_TIMEOUT
    while len(threads := list(Path("/proc/self/task").iterdir())) > 1:
        if time.monotonic() > until:
            print(  # noqa: T201  it is the worker's error log
                f"{len(threads)} threads instead of one: an engine forked from this process may hang",
                file=sys.stderr,
                flush=True,
            )
            return
        time.sleep(0.01)


def send(channel: socket.socket, members: dict[str, Any]) -> None:
    """Send one message: a line of JSON."""
    channel.sendall(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
