"""The plateau of GTE's two processes' memory: what they hold once every size of batch has been computed.

    python -m benchmarks.encoder_memory --checkpoint DIRECTORY [--precision int8] [--passes 3]

The worst load that is accepted is full batches, and of every number of rows, because oneDNN keeps code for each. A pass
computes one batch of each number of rows up to GTE_BATCH_TOKENS (512), which a queue never exceeds unless one text
alone does, and no text has more than 512 tokens. Proportional set size of forkserver and engine, MiB, beside the bytes
of the weights as the precision keeps them, from config.json. Without the worker: its memory is that of the embedded
default (``service_under_load --only memory``).
"""

import argparse
import os
from pathlib import Path

import numpy
import psutil

from service.engines.forkserver.client import Forkserver
from service.engines.gte.checkpoint import Configuration, read_configuration
from service.engines.gte.engine import GteEngine, GteLaunch
from service.engines.gte.tokens import Tokens

LARGEST = 512  # tokens of a batch, GTE_BATCH_TOKENS' default
# Bytes of a weight: of the linear layers, and of the table of words.
BYTES = {"float32": (4, 4), "bfloat16": (2, 2), "int8": (1, 2)}


def weight_bytes(configuration: Configuration, precision: str) -> int:
    """The weights as the engine keeps them; the small vectors (biases, norms, scales) left out."""
    in_layer, in_table = BYTES[precision]
    hidden = configuration.hidden
    layer = 4 * hidden * hidden + 2 * hidden * configuration.intermediate
    table = configuration.vocabulary * hidden
    places = configuration.positions * hidden
    return configuration.layers * layer * in_layer + table * in_table + places * 4


def held(engine: GteEngine, forkserver: Forkserver) -> float:
    """PSS of both, MiB."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in (engine.pid, forkserver.pid)) / 2**20


def batches(configuration: Configuration) -> list[list[Tokens]]:
    """One batch of each number of rows, the largest first, in texts of at most 200 tokens; then one longest text."""
    made = []
    for rows in range(LARGEST, 0, -16):
        lengths = [min(200, rows - begin) for begin in range(0, rows, 200)]
        made.append([numpy.arange(length, dtype=numpy.int32) + 200 for length in lengths])
    return [*made, [numpy.arange(configuration.positions, dtype=numpy.int32)]]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The plateau of GTE's memory")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--precision", choices=BYTES, default="int8")
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # as gunicorn_conf sets it
    configuration = read_configuration(arguments.checkpoint)
    forkserver = Forkserver(GteLaunch(arguments.checkpoint, arguments.precision, 2).forkserver())
    engine = GteEngine(forkserver)
    try:
        weights = weight_bytes(configuration, arguments.precision) / 2**20
        print(f"{arguments.precision}, {configuration.layers} layers: weights {weights:.0f} MiB", flush=True)
        print(f"ready: {held(engine, forkserver):.0f} MiB", flush=True)
        for number in range(arguments.passes):
            for batch in batches(configuration):
                engine.encode(batch, 60.0)
            now = held(engine, forkserver)
            print(f"after pass {number + 1}: {now:.0f} MiB, weights and {now - weights:.0f}", flush=True)
    finally:
        engine.end()
        forkserver.end()


if __name__ == "__main__":
    main()
