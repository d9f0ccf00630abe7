"""The engine process: ``python -m service.engines.uninlu.process SOCKET DIRECTORY PARENT THREADS TRUSTS_CODE``.

It says in one line of JSON what it has loaded, or why it cannot; then each line is a request and gets a line.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from service.engines.engine_process import leave_signals_to_the_worker
from service.engines.interface import EngineUnavailableError, not_installed
from service.engines.uninlu.checkpoint import require_model

_LOOK_FOR_PARENT = 1.0  # seconds


def main() -> None:
    """Serve until the worker closes the channel or ends."""
    number, directory, parent, threads, trusts_code = sys.argv[1:6]
    leave_signals_to_the_worker()
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    channel = socket.socket(fileno=int(number)).makefile("rwb")

    def say(members: dict[str, Any]) -> None:
        channel.write(json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        channel.flush()

    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _serve(channel, say, Path(directory), int(threads), trusts_code == "1")
    # At once: the interpreter's own end would take torch half a second.
    os._exit(0)


def _serve(channel: Any, say: Any, directory: Path, threads: int, trusts_code: bool) -> None:
    started = time.monotonic()
    try:
        task = require_model(directory, trusts_code=trusts_code)
        import torch

        from service.engines.uninlu.model import Model, OutOfTimeError

        torch.set_num_threads(threads)
        model = Model(directory, task, trusts_code=trusts_code)
        say({"ready": True, "has_scores": model.has_scores, "seconds": time.monotonic() - started})
    except EngineUnavailableError as failure:
        say({"ready": False, "reason": failure.reason, "detail": failure.detail})
        return
    except ImportError as error:
        say({"ready": False, "reason": "model_missing", "detail": not_installed(error, "model")})
        return
    except Exception as error:  # noqa: BLE001  a checkpoint can be wrong in any way; /ready must say so
        _log(f"the model cannot be loaded: {type(error).__name__}: {error}")
        detail = f"the model in GTE_UNINLU_DIR cannot be loaded ({type(error).__name__}): see the error log"
        say({"ready": False, "reason": "load_failed", "detail": detail})
        return
    for line in channel:
        request = json.loads(line.decode("utf-8", "surrogatepass"))
        method = request.pop("method")
        try:
            say({"answer": getattr(model, method)(**request)})
        except OutOfTimeError:
            say({"failure": "timeout"})
        except Exception as error:  # noqa: BLE001  whatever it is, it is this request's; the next may be well
            _log(f"a request failed: {type(error).__name__}: {error}")
            say({"failure": type(error).__name__})


def _log(text: str) -> None:
    print(f"uninlu engine: {text}", file=sys.stderr, flush=True)  # noqa: T201  the worker's error log


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT)
    os._exit(0)


if __name__ == "__main__":
    main()
