"""The template and its engines: ``python -m service.engines.gte.process SOCKET DIRECTORY PRECISION THREADS``.

The template loads the checkpoint; the engines that it forks (``service.engines.forkserver.server``) compute one batch
after the other. On a GPU, whose driver does not survive a fork, an engine loads the checkpoint itself. ``worker``
starts the template and gives it its environment, which torch and oneDNN read when they are imported.
"""

import ctypes
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.engines.child_process import leave_signals_to_the_worker
from service.engines.forkserver import server
from service.engines.gte import protocol
from service.engines.gte.checkpoint import read_configuration
from service.engines.interface import EngineUnavailableError, not_installed

if TYPE_CHECKING:
    from service.engines.gte.forward import GteModel

_WARM_UP_TOKENS = 32

# The model, and what is to be said of it.
Loaded = tuple["GteModel", dict[str, Any]]


def main() -> None:
    """Serve forks until the worker closes the channel or ends."""
    number, directory, precision, threads = sys.argv[1:5]
    leave_signals_to_the_worker()
    control = socket.socket(fileno=int(number))
    try:
        with server.ending_with(control):
            load = _prepared(control, Path(directory), precision, int(threads))
        server.say(control, {"ready": True})
        server.serve(control, lambda channel: _compute(channel, load, int(threads)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    # At once: the interpreter's own end would take torch half a second.
    os._exit(0)


def _prepared(control: socket.socket, directory: Path, wanted: str, threads: int) -> Callable[[], Loaded]:
    """What gives an engine its model; ends the process if there is none."""
    try:
        import torch

        from service.engines.gte.weights import CheckpointError
    except ImportError as error:
        return _refused(control, "model_missing", not_installed(error, "model"))

    def load() -> Loaded:
        return _load(directory, wanted, threads)

    try:
        if torch.cuda.is_available():
            read_configuration(directory)
            return load
        loaded = load()
    except EngineUnavailableError as failure:
        return _refused(control, failure.reason, failure.detail)
    except CheckpointError as error:
        return _refused(control, "load_failed", f"the checkpoint in GTE_MODEL_DIR cannot be used: {error}")
    # What loading has left behind would count as this process's memory for as long as it lives.
    ctypes.CDLL(None).malloc_trim(0)
    return lambda: loaded


def _load(directory: Path, wanted: str, threads: int) -> Loaded:
    import torch

    from service.engines.gte import precision as precisions
    from service.engines.gte.forward import GteModel

    configuration = read_configuration(directory)
    measured = None
    if torch.cuda.is_available():
        precision: precisions.Precision = "bfloat16"
    else:
        measured = precisions.measure()
        precision = precisions.choose(measured)
    if wanted != "auto":
        precision = precisions.named(wanted)
    products = precisions.products(precision, measured)
    model = GteModel(directory, configuration, precision, products, threads)
    facts = {
        "precision": precision,
        "products": products,
        "device": model.device.type,
        "dimension": configuration.hidden,
        "measured": asdict(measured) if measured else None,
    }
    return model, facts


def _compute(channel: socket.socket, load: Callable[[], Loaded], threads: int) -> None:
    """The engine: compute what comes on ``channel`` until the worker closes it."""
    import numpy
    import torch

    torch.set_num_threads(threads)
    model, facts = load()
    sample = [numpy.arange(_WARM_UP_TOKENS, dtype=numpy.int32) % model.configuration.vocabulary]
    model.encode(sample)
    began = time.monotonic()
    model.encode(sample)
    rate = _WARM_UP_TOKENS / (time.monotonic() - began)
    ready = {**facts, "threads": threads, "tokens_per_second": rate}
    protocol.send(channel, protocol.Kind.READY, 0, json.dumps(ready).encode())
    receiver = protocol.Receiver(channel)
    while True:
        try:
            _kind, number, payload = receiver.receive()
        except protocol.ClosedError:
            return
        try:
            vectors = model.encode(protocol.unpack_batch(payload))
        except Exception as error:  # noqa: BLE001  whatever it is, it is this batch's; the next may be well
            print(f"gte engine: a batch failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            protocol.send(channel, protocol.Kind.FAILED, number, type(error).__name__.encode())
        else:
            protocol.send(channel, protocol.Kind.VECTORS, number, vectors.tobytes())


def _refused(control: socket.socket, reason: str, detail: str) -> Callable[[], Loaded]:
    server.say(control, {"ready": False, "reason": reason, "detail": detail})
    os._exit(0)


if __name__ == "__main__":
    main()
