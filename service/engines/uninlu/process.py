"""The template: ``python -m service.engines.uninlu.process SOCKET DIRECTORY THREADS TRUSTS_CODE``.

It loads the model once; the engines that it forks (``service.engines.forkserver.server``) answer, a line of JSON for
each. What code of a model's own starts is not known; such a model is loaded after the fork.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.engines.child_process import leave_signals_to_the_worker
from service.engines.forkserver import server
from service.engines.interface import EngineUnavailableError, WindowExceededError, not_installed
from service.engines.uninlu.checkpoint import require_model

# What the template is started with, beside the worker's environment.
ENVIRONMENT = {
    **server.ENVIRONMENT,
    # The weights lie there; nothing is to be looked up elsewhere.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # The one that pyarrow's allocator starts.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # The model runs on the processor; a driver that was started does not survive a fork.
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
            load, seconds = _prepared(control, Path(directory), trusts_code == "1")
        server.say(control, {"ready": True, "seconds": seconds})
        server.serve(control, lambda channel: _answer_all(channel, load, int(threads)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    # At once: the interpreter's own end would take torch half a second.
    os._exit(0)


def _prepared(control: socket.socket, directory: Path, trusts_code: bool) -> tuple[Load, float]:
    """What gives an engine its model, and the seconds that it took to get there; ends the process if there is none."""
    began = time.monotonic()

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
    server.say(channel, {"ready": False, "reason": reason, "detail": detail})
    os._exit(0)


def _answer_all(channel: socket.socket, load: Load, threads: int) -> None:
    """The engine: answer on ``channel`` until the worker closes it."""
    with _refusing(channel):
        import torch

        from service.engines.uninlu.model import OutOfTimeError

        torch.set_num_threads(threads)
        model = load()
    server.say(channel, {"ready": True, "has_scores": model.has_scores})
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
        server.say(channel, answer)


def _log(text: str) -> None:
    print(f"uninlu engine: {text}", file=sys.stderr, flush=True)  # noqa: T201  the worker's error log


if __name__ == "__main__":
    main()
