"""The forkserver and its engines: ``python -m service.engines.uninlu.process SOCKET DIRECTORY THREADS TRUSTS_CODE``.

The forkserver loads the model once; its forks (``service.engines.forkserver.server``) answer requests, one line of JSON
each. A model with code of its own may start threads when it is loaded, so it is loaded after the fork.
"""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.engines.child_process import leave_signals_to_the_worker
from service.engines.forkserver import server
from service.engines.interface import (
    EngineUnavailableError,
    UnavailableReason,
    WindowExceededError,
    not_installed,
)
from service.engines.uninlu.checkpoint import require_model

# Set for the forkserver in addition to the worker's environment.
ENVIRONMENT = {
    **server.ENVIRONMENT,
    # The weights are local: look nothing up on the network.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # pyarrow's allocator would start a thread.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # The model runs on the CPU, and a GPU driver does not survive a fork.
    "CUDA_VISIBLE_DEVICES": "",
}

Load = Callable[[], Any]


def main() -> None:
    """Serve forks until the worker closes the channel or ends."""
    number, directory, threads, trusts_code = sys.argv[1:5]
    leave_signals_to_the_worker()
    control = socket.socket(fileno=int(number))
    try:
        with server.ending_with(control):
            load = _prepare(control, Path(directory), trusts_code == "1")
        server.send(control, {"ready": True})
        server.serve(control, lambda channel: _answer_all(channel, load, int(threads)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    # _exit, because the interpreter's shutdown takes torch half a second.
    os._exit(0)


def _prepare(control: socket.socket, directory: Path, trusts_code: bool) -> Load:
    """A function that returns the model to an engine; ends the process if there is no usable model."""

    def load() -> Any:
        task = require_model(directory, trusts_code=trusts_code)
        from service.engines.uninlu.model import UninluModel

        return UninluModel(directory, task, trusts_code=trusts_code)

    with _refusing(control):
        require_model(directory, trusts_code=trusts_code)
        from service.engines.uninlu import model

        model.import_all()
        if not trusts_code:
            loaded = load()
            loaded.warm_up()
            return lambda: loaded
    return load


@contextlib.contextmanager
def _refusing(channel: socket.socket) -> Iterator[None]:
    """If the model cannot be loaded, report why on ``channel`` and end the process."""
    try:
        yield
        return
    except EngineUnavailableError as failure:
        reason, detail = failure.reason, failure.detail
    except ImportError as error:
        reason, detail = UnavailableReason.MODEL_MISSING, not_installed(error, "model")
    except Exception as error:  # noqa: BLE001  a checkpoint can be wrong in any way, and /ready must report it
        _log(f"the model cannot be loaded: {type(error).__name__}: {error}")
        reason = UnavailableReason.LOAD_FAILED
        detail = f"the model in GTE_UNINLU_DIR cannot be loaded ({type(error).__name__}): see the error log"
    server.send(channel, {"ready": False, "reason": reason, "detail": detail})
    os._exit(0)


def _answer_all(channel: socket.socket, load: Load, threads: int) -> None:
    """The engine: answer on ``channel`` until the worker closes it."""
    with _refusing(channel):
        import torch

        from service.engines.uninlu.model import OutOfTimeError

        torch.set_num_threads(threads)
        model = load()
    server.send(channel, {"ready": True, "has_scores": model.has_scores})
    for line in channel.makefile("rb"):
        request = json.loads(line.decode("utf-8", "surrogatepass"))
        method = request.pop("method")
        try:
            answer = {"answer": getattr(model, method)(**request)}
        except OutOfTimeError:
            answer = {"failure": "timeout"}
        except WindowExceededError as excess:
            answer = {"failure": "window", **vars(excess)}
        except Exception as error:  # noqa: BLE001  it fails this request only; the next may succeed
            _log(f"a request failed: {type(error).__name__}: {error}")
            answer = {"failure": type(error).__name__}
        server.send(channel, answer)


def _log(text: str) -> None:
    print(f"uninlu engine: {text}", file=sys.stderr, flush=True)  # noqa: T201  the worker's error log


if __name__ == "__main__":
    main()
