"""GTE's forkserver and engine with a meter at each cause of the engine's processor time, for ``embedding_profile``."""

import os
from pathlib import Path

from service.engines.gte.torch_import import import_torch


def main() -> None:
    """As ``service.engines.gte.process``."""
    torch = import_torch()
    from torch.nn import functional

    from benchmarks.cause_meter import CauseMeter
    from service.engines.gte import forward, linear, process

    # A thread of ParallelRows has one OpenMP thread; else all of them compute together.
    meter = CauseMeter(Path(os.environ["PROFILE_DIRECTORY"], "engine"), lambda: torch.get_num_threads() > 1)
    # The wrapped functions call each other: each counts what the inner ones do not.
    for owner, name, cause in (
        # Not a cause: the file is written after each batch.
        (forward.GteModel, "encode", "batch"),
        (forward.Attention, "mix", "attention"),
        (forward.Norm, "__call__", "layer normalisation"),
        (torch.ops.aten, "gelu_", "GELU"),
        (functional, "gelu", "GELU"),
        (torch.ops.onednn, "qlinear_pointwise", "matrix products"),
        (torch.ops.mkldnn, "_linear_pointwise", "matrix products"),
        (functional, "linear", "matrix products"),
        *((linear.Quantized, name, "int8: scaling and rounding") for name in ("__call__", "write", "then")),
        *(
            (owner, "__call__", "conversion between types")
            for owner in (linear.Packed, linear.Plain, linear.Stored)
        ),
    ):
        meter.wrap(owner, name, cause, writes=owner is forward.GteModel)
    process.main()


if __name__ == "__main__":
    main()
