"""The engine process: ``python -m service.engines.gte.process SOCKET DIRECTORY PRECISION THREADS``.

It loads the checkpoint, says so, and then computes one batch after the other. ``service.engines.gte.supervision``
starts it and gives it its environment, which torch and oneDNN read when they are imported.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path

from service.engines.engine_process import leave_signals_to_the_worker
from service.engines.gte import wire
from service.engines.gte.checkpoint import read_configuration
from service.engines.interface import EngineUnavailableError, not_installed

_PR_SET_PDEATHSIG = 1  # prctl(2)
_WARM_UP_TOKENS = 64


def main() -> None:
    """Serve until the worker closes the channel."""
    number, directory, precision, threads, parent = sys.argv[1:6]
    _end_with(int(parent))
    leave_signals_to_the_worker()
    channel = socket.socket(fileno=int(number))
    try:
        _serve(channel, Path(directory), precision, int(threads))
    except (wire.ClosedError, BrokenPipeError):
        # The worker has ended. At once: the interpreter's own end would take torch half a second.
        os._exit(0)


def _end_with(parent: int) -> None:
    """Die with the worker, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)


def _serve(channel: socket.socket, directory: Path, wanted: str, threads: int) -> None:
    started = time.monotonic()
    try:
        import torch

        from service.engines.gte import precision as precisions
        from service.engines.gte.forward import Model
        from service.engines.gte.weights import CheckpointError
    except ImportError as error:
        _refuse(channel, "model_missing", not_installed(error, "model"))
        return
    imported = time.monotonic()
    torch.set_num_threads(threads)
    measured = None
    try:
        configuration = read_configuration(directory)
        if torch.cuda.is_available():
            precision: precisions.Precision = "bfloat16"
        else:
            measured = precisions.measure()
            precision = precisions.choose(measured)
        if wanted != "auto":
            precision = precisions.named(wanted)
        products = precisions.products(precision, measured)
        model = Model(directory, configuration, precision, products, threads)
    except EngineUnavailableError as failure:
        _refuse(channel, failure.reason, failure.detail)
        return
    except CheckpointError as error:
        _refuse(channel, "load_failed", f"the checkpoint in GTE_MODEL_DIR cannot be used: {error}")
        return
    # What loading has left behind would count as this process's memory for as long as it lives.
    ctypes.CDLL(None).malloc_trim(0)
    loaded = time.monotonic()
    import numpy

    sample = [numpy.arange(_WARM_UP_TOKENS, dtype=numpy.int32) % configuration.vocabulary]
    model.encode(sample)
    began = time.monotonic()
    model.encode(sample)
    rate = _WARM_UP_TOKENS / (time.monotonic() - began)
    ready = {
        "precision": precision,
        "products": products,
        "device": model.device.type,
        "threads": threads,
        "dimension": configuration.hidden,
        "tokens_per_second": rate,
        "measured": asdict(measured) if measured else None,
        "import_seconds": imported - started,
        "load_seconds": loaded - imported,
    }
    wire.send(channel, wire.Kind.READY, 0, json.dumps(ready).encode())
    receiver = wire.Receiver(channel)
    while True:
        _kind, number, payload = receiver.receive()
        try:
            vectors = model.encode(wire.unpack_batch(payload))
        except Exception as error:  # noqa: BLE001  whatever it is, it is this batch's; the next may be well
            print(f"gte engine: a batch failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            wire.send(channel, wire.Kind.FAILED, number, type(error).__name__.encode())
        else:
            wire.send(channel, wire.Kind.VECTORS, number, vectors.tobytes())


def _refuse(channel: socket.socket, reason: str, detail: str) -> None:
    wire.send(channel, wire.Kind.REFUSED, 0, json.dumps({"reason": reason, "detail": detail}).encode())


if __name__ == "__main__":
    main()
