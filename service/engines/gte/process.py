"""The forkserver and its engines: ``python -m service.engines.gte.process SOCKET DIRECTORY PRECISION THREADS``.

The forkserver loads the checkpoint; its forks (``service.engines.forkserver.server``), the engines, compute one batch
after the other. A GPU's driver does not survive a fork, so on a GPU an engine loads the checkpoint itself. ``engine``
starts the forkserver with the environment that torch and oneDNN read when they are imported.
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
from service.engines.gte.torch_import import import_torch
from service.engines.interface import EngineUnavailableError, UnavailableReason, not_installed
from service.engines.priority import give_way

if TYPE_CHECKING:
    from service.engines.gte.forward import GteModel

_WARM_UP_TOKENS = 32

# The model, and the facts that the engine reports about it.
Loaded = tuple["GteModel", dict[str, Any]]


def main() -> None:
    """Serve forks until the worker closes the channel or ends."""
    number, directory, precision, threads = sys.argv[1:5]
    leave_signals_to_the_worker()
    control = socket.socket(fileno=int(number))
    try:
        with server.ending_with(control):
            load = _prepare(control, Path(directory), precision, int(threads))
        server.send(control, {"ready": True})
        server.serve(control, lambda channel: _compute(channel, load, int(threads)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    # _exit, because the interpreter's shutdown takes torch half a second.
    os._exit(0)


def _prepare(control: socket.socket, directory: Path, requested: str, threads: int) -> Callable[[], Loaded]:
    """A function that returns the model to an engine; ends the process if there is no usable model."""
    try:
        torch = import_torch()

        from service.engines.gte.weights import CheckpointError
    except ImportError as error:
        return _refuse(control, UnavailableReason.MODEL_MISSING, not_installed(error, "model"))

    def load() -> Loaded:
        return _load(directory, requested, threads)

    try:
        if torch.cuda.is_available():
            read_configuration(directory)
            return load
        loaded = load()
    except EngineUnavailableError as failure:
        return _refuse(control, failure.reason, failure.detail)
    except CheckpointError as error:
        return _refuse(
            control, UnavailableReason.LOAD_FAILED, f"the checkpoint in GTE_MODEL_DIR cannot be used: {error}"
        )
    # Return what loading has freed to the kernel: it would count as this process's memory for ever.
    ctypes.CDLL(None).malloc_trim(0)
    return lambda: loaded


def _load(directory: Path, requested: str, threads: int) -> Loaded:
    import torch

    from service.engines.gte import precision as precisions
    from service.engines.gte import row_passes
    from service.engines.gte.forward import GteModel

    configuration = read_configuration(directory)
    measured = None
    if torch.cuda.is_available():
        precision: precisions.Precision = "bfloat16"
    else:
        measured = precisions.measure()
        precision = precisions.choose(measured)
    if requested != "auto":
        precision = precisions.parse(requested)
    if measured is None and precision == "int8":
        # The 8-bit product is the CPU's.
        precision = "bfloat16"
    products = precisions.products(precision, measured)
    by_products = precisions.attends_by_products(products, measured)
    model = GteModel(directory, configuration, precision, products, threads, attends_by_products=by_products)
    facts = {
        "precision": precision,
        "products": products,
        "device": model.device.type,
        "dimension": configuration.hidden,
        "measured": asdict(measured) if measured else None,
        "compiled": row_passes.compiled() is not None,
    }
    return model, facts


def _compute(channel: socket.socket, load: Callable[[], Loaded], threads: int) -> None:
    """The engine: compute the batches received on ``channel`` until the worker closes it."""
    import numpy
    import torch

    # Before the engine's own threads, which inherit it.
    give_way()
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
        except Exception as error:  # noqa: BLE001  it fails this batch only; the next may succeed
            print(f"gte engine: a batch failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            protocol.send(channel, protocol.Kind.FAILED, number, type(error).__name__.encode())
        else:
            protocol.send(channel, protocol.Kind.VECTORS, number, vectors.tobytes())


def _refuse(control: socket.socket, reason: UnavailableReason, detail: str) -> Callable[[], Loaded]:
    server.send(control, {"ready": False, "reason": reason, "detail": detail})
    os._exit(0)


if __name__ == "__main__":
    main()
