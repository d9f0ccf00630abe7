"""Choose the precision for this machine, by measurement and not by the processor's name."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch

from service.engines.gte import attention
from service.engines.gte.linear import Packed, supports_bfloat16

Precision = Literal["float32", "bfloat16", "int8"]

# bfloat16 agrees less with float32, so by default it must be faster by this factor.
_WORTH_IT = 1.2
_ROWS, _COLUMNS = 128, 1024
_TIMES = 3
_HEADS, _TOKENS, _WIDTH = 8, 128, 64


@dataclass(frozen=True)
class Measured:
    """Rates of a matrix product in GFLOP/s; ``bfloat16`` is None if oneDNN has no such product for the processor."""

    float32: float
    bfloat16: float | None


def measure() -> Measured:
    """Both rates, within about 50 ms: the best of three products of 128 x 1024 x 1024."""
    return Measured(
        float32=_rate(torch.float32), bfloat16=_rate(torch.bfloat16) if supports_bfloat16() else None
    )


def choose(measured: Measured) -> Precision:
    """bfloat16 if its products are at least 1.2 times as fast as those of float32, else float32.

    int8 is never chosen: whether its agreement with float32 suffices is for the operator to decide.
    """
    if measured.bfloat16 is not None and measured.bfloat16 >= _WORTH_IT * measured.float32:
        return "bfloat16"
    return "float32"


def products(precision: Precision, measured: Measured | None) -> Precision:
    """The type in which a layer of ``precision`` is computed. bfloat16 weights get float32 products if bfloat16
    products are slow: oneDNN also has kernels that only emulate them (AVX-512 without its bfloat16 instructions: a
    fifth of float32's rate). ``measured``: None on a GPU."""
    if precision != "bfloat16" or measured is None:
        return precision
    is_quick = measured.bfloat16 is not None and measured.bfloat16 >= measured.float32
    return "bfloat16" if is_quick else "float32"


def attends_by_products(products: Precision, measured: Measured | None) -> bool:
    """Whether a layer whose other products are ``products`` attends by products in bfloat16: they take less time here
    than flash attention, by measurement (10 ms). Only beside bfloat16: float32 agrees more closely, and int8 would save
    4 % of its time and agree less (centred cosine 0.9959 instead of 0.9966). ``measured``: None on a GPU."""
    if products != "bfloat16" or measured is None or (measured.bfloat16 or 0.0) < measured.float32:
        return False
    text = torch.rand(_TOKENS, 3, _HEADS, _WIDTH).to(torch.bfloat16).permute(1, 2, 0, 3)
    return _best_of(_TIMES, lambda: attention.by_products(*text)) < _best_of(
        _TIMES, lambda: attention.flash(*text.unsqueeze(1))
    )


def parse(name: str) -> Precision:
    """The precision of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in get_args(Precision):
        raise ValueError(f"{name!r} is no precision")
    return cast(Precision, name)


def _rate(kind: torch.dtype) -> float:
    layer = Packed(torch.rand(_COLUMNS, _COLUMNS), torch.zeros(_COLUMNS), kind, gelu=False)
    x = torch.rand(_ROWS, _COLUMNS).to(kind)
    seconds = _best_of(_TIMES, lambda: layer(x))
    return 2 * _ROWS * _COLUMNS**2 / seconds / 1e9


def _best_of(times: int, run: Callable[[], object]) -> float:
    run()
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return min(durations)
