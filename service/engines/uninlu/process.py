"""The template: ``python -m service.engines.uninlu.process SOCKET DIRECTORY THREADS TRUSTS_CODE``.

It loads the model once and answers nothing. For each socket that it is sent it forks an engine, which has everything in
memory already and answers there: a line of JSON for each. An engine that is lost is thus replaced within a fork's time,
and the weights, which nobody writes to, lie in memory once.

Only one thread may be there when it forks, or the engine could inherit a lock that nobody will open: so the template
computes with one thread (``environment``), and looks whether it is alone. What code of a model's own starts is not
known; such a model is loaded after the fork.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.engines.engine_process import leave_signals_to_the_worker
from service.engines.interface import EngineUnavailableError, WindowExceededError, not_installed
from service.engines.uninlu.checkpoint import require_model

# What the template is started with, beside the worker's environment.
ENVIRONMENT = {
    # The weights lie there; nothing is to be looked up elsewhere.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # No threads before the fork: OpenMP's, BLAS's (numpy's, when it is imported), and the one that pyarrow's allocator
    # starts. The engine sets its own number of threads.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    # The model runs on the processor; a driver that was started does not survive a fork.
    "CUDA_VISIBLE_DEVICES": "",
}

_THREAD_ENDS = 1.0  # seconds that a thread may need to leave the kernel's list once it has been joined

Load = Callable[[], Any]


def main() -> None:
    """Serve forks until the worker closes the channel or ends."""
    number, directory, threads, trusts_code = sys.argv[1:5]
    leave_signals_to_the_worker()
    control = socket.socket(fileno=int(number))
    try:
        with _ending_with(control):
            load, seconds = _prepared(control, Path(directory), trusts_code == "1")
        _say(control, {"ready": True, "seconds": seconds})
        _warn_of_threads()
        # What is there stays: no collection shall write to its pages, which the engines share.
        gc.collect()
        gc.freeze()
        _fork_on_demand(control, load, int(threads))
    except (BrokenPipeError, ConnectionResetError):
        pass
    # At once: the interpreter's own end would take torch half a second.
    os._exit(0)


def _prepared(control: socket.socket, directory: Path, trusts_code: bool) -> tuple[Load, float]:
    """What gives an engine its model, and the seconds that it took to get there; ends the process if there is none."""
    began = time.monotonic()

    def load() -> Any:
        task = require_model(directory, trusts_code=trusts_code)
        from service.engines.uninlu.model import Model

        return Model(directory, task, trusts_code=trusts_code)

    with _refusing(control):
        require_model(directory, trusts_code=trusts_code)
        from service.engines.uninlu import model

        model.import_all()
        if not trusts_code:
            loaded = load()
            loaded.warm_up()
            return (lambda: loaded), time.monotonic() - began
    return load, time.monotonic() - began


@contextlib.contextmanager
def _refusing(channel: socket.socket) -> Iterator[None]:
    """Say on ``channel`` why the model cannot be loaded, and end."""
    try:
        yield
        return
    except EngineUnavailableError as failure:
        reason, detail = failure.reason, failure.detail
    except ImportError as error:
        reason, detail = "model_missing", not_installed(error, "model")
    except Exception as error:  # noqa: BLE001  a checkpoint can be wrong in any way; /ready must say so
        _log(f"the model cannot be loaded: {type(error).__name__}: {error}")
        reason = "load_failed"
        detail = f"the model in GTE_UNINLU_DIR cannot be loaded ({type(error).__name__}): see the error log"
    _say(channel, {"ready": False, "reason": reason, "detail": detail})
    os._exit(0)


def _fork_on_demand(control: socket.socket, load: Load, threads: int) -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    order = control.fileno()
    while True:
        ready, _, _ = select.select([order, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            _tell_of_the_ended(control)
        if order not in ready:
            continue
        asked, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return  # the worker has ended
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
            _answer_all(channel, load, threads)
        channel.close()
        _say(control, {"pid": pid})


def _tell_of_the_ended(control: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _say(control, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _answer_all(channel: socket.socket, load: Load, threads: int) -> None:
    """The engine: answer on ``channel`` until the worker closes it or ends."""
    try:
        with _ending_with(channel):
            with _refusing(channel):
                import torch

                from service.engines.uninlu.model import OutOfTimeError

                torch.set_num_threads(threads)
                model = load()
            _say(channel, {"ready": True, "has_scores": model.has_scores})
            for line in channel.makefile("rb"):
                request = json.loads(line.decode("utf-8", "surrogatepass"))
                method = request.pop("method")
                try:
                    answer = {"answer": getattr(model, method)(**request)}
                except OutOfTimeError:
                    answer = {"failure": "timeout"}
                except WindowExceededError as excess:
                    answer = {"failure": "window", **vars(excess)}
                except Exception as error:  # noqa: BLE001  whatever it is, it is this request's; the next may be well
                    _log(f"a request failed: {type(error).__name__}: {error}")
                    answer = {"failure": type(error).__name__}
                _say(channel, answer)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        # Never back into the template's code.
        os._exit(0)


@contextlib.contextmanager
def _ending_with(channel: socket.socket) -> Iterator[None]:
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
            _log(f"{len(threads)} threads where one is expected: an engine that is forked from it may hang")
            return
        time.sleep(0.01)


def _say(channel: socket.socket, members: dict[str, Any]) -> None:
    channel.sendall(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def _log(text: str) -> None:
    print(f"uninlu engine: {text}", file=sys.stderr, flush=True)  # noqa: T201  the worker's error log


if __name__ == "__main__":
    main()
