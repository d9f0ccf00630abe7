"""A template, in its process: it has loaded a model and answers nothing, but forks an engine for each socket that it is
sent.

An engine has everything in memory already, so that a lost one is replaced within a fork's time, and the weights, which
nobody writes to, lie in memory once. Only one thread may be there when it forks, or the engine could inherit a lock
that nobody will open: the template computes with one thread (``ENVIRONMENT``), and looks whether it is alone. The
worker's side is ``template``.
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

# What a template is started with, beside the worker's environment.
ENVIRONMENT = {
    # No threads before the fork: OpenMP's and BLAS's (numpy's, when it is imported). The engine sets its own number.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Threads that spin at a barrier while a neighbour has the core of the last one waste what it could use.
    "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
}

_THREAD_ENDS = 1.0  # seconds that a thread may need to leave the kernel's list once it has been joined


def serve(control: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Fork for each socket that comes on ``control``, until the worker closes it. In the fork ``answer`` gets the
    socket; the fork ends with it, or when the worker closes the socket, and never comes back from here."""
    _warn_of_threads()
    # What is there stays: no collection shall write to its pages, which the engines share.
    gc.collect()
    gc.freeze()
    _fork_on_demand(control, answer)


def _fork_on_demand(control: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    order = control.fileno()
    engines: set[int] = set()
    while True:
        ready, _, _ = select.select([order, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            for pid, status in _ended():
                engines.discard(pid)
                say(control, {"ended": pid, "status": status})
        if order not in ready:
            continue
        asked, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            # The worker has ended. An engine that is stopped or stuck does not see it.
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
            for inherited in (woken, wake):
                os.close(inherited)
            control.close()
            _answer(channel, answer)
        channel.close()
        engines.add(pid)
        say(control, {"pid": pid})


def _ended() -> Iterator[tuple[int, int]]:
    """The children that have ended, and how, as ``Popen.returncode`` says it."""
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
    except Exception:  # noqa: BLE001  it ends here, and the worker's error log must say why
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        # Never back into the template's code; and at once: the interpreter's own end would take torch half a second.
        os._exit(0)


@contextlib.contextmanager
def ending_with(channel: socket.socket) -> Iterator[None]:
    """End this process as soon as the worker's end of ``channel`` is closed, whatever it is at in this block."""
    ours, theirs = os.pipe()

    def watch() -> None:
        poll = select.poll()
        poll.register(channel.fileno(), 0)  # POLLHUP and POLLERR are always told
        poll.register(ours, select.POLLIN)
        if ours not in dict(poll.poll()):
            os._exit(0)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        os.write(theirs, b"\n")
        watching.join()
        os.close(ours)
        os.close(theirs)


def _warn_of_threads() -> None:
    until = time.monotonic() + _THREAD_ENDS
    while len(threads := list(Path("/proc/self/task").iterdir())) > 1:
        if time.monotonic() > until:
            print(  # noqa: T201  the worker's error log
                f"{len(threads)} threads where one is expected: an engine that is forked from it may hang",
                file=sys.stderr,
                flush=True,
            )
            return
        time.sleep(0.01)


def say(channel: socket.socket, members: dict[str, Any]) -> None:
    """Send a line of JSON."""
    channel.sendall(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
