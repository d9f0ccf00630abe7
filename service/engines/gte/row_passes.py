"""What lies between two 8-bit products, in one or two passes over each row instead of torch's ten.

``row_passes.c``, compiled when the package is built; where it was not (no compiler, no wheel for the processor), torch
computes the same (``linear``). Levels differ by one where a value lies on the edge of two, in about one of 50,000.
"""

import ctypes
import functools
from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("librow_passes.so")


class RowPasses:
    """The compiled passes. All tensors are contiguous; ``levels`` uint8, the others float32; ``scales`` a column."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._levels = library.gte_levels
        self._levels.argtypes, self._levels.restype = [*[pointer] * 4, *[count] * 2], None
        self._after_gelu = library.gte_levels_after_gelu
        self._after_gelu.argtypes, self._after_gelu.restype = [*[pointer] * 8, *[count] * 2], None

    def levels(self, x: torch.Tensor, widths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``x * widths`` [rows, columns] in levels of 8 bits with the zero at 128, and the scale of each row."""
        x = x.to(torch.float32).contiguous()
        levels, scales = torch.empty_like(x, dtype=torch.uint8), x.new_empty(len(x), 1)
        self._levels(*_addresses(x, widths, levels, scales), *x.shape)
        return levels, scales

    def levels_after_gelu(
        self,
        products: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        widths: torch.Tensor,
        shift: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``gelu(products * scale + bias) * widths + shift``, which is never below 0, in levels of 8 bits, and the
        scale of each row."""
        products = products.contiguous()
        levels = torch.empty_like(products, dtype=torch.uint8)
        scales, buffer = torch.empty_like(scale), torch.empty_like(bias)
        tensors = (products, scale, bias, widths, shift, levels, scales, buffer)
        self._after_gelu(*_addresses(*tensors), *products.shape)
        return levels, scales


@functools.cache
def compiled() -> RowPasses | None:
    """The passes, if they were compiled for this processor and system."""
    try:
        return RowPasses(ctypes.CDLL(str(LIBRARY)))
    except (OSError, AttributeError):
        return None


def _addresses(*tensors: torch.Tensor) -> tuple[int, ...]:
    # What is read beyond its end, or as another type, would be no exception but another value.
    assert all(tensor.is_contiguous() for tensor in tensors)  # noqa: S101  # a check of this module's own calls
    return tuple(tensor.data_ptr() for tensor in tensors)
