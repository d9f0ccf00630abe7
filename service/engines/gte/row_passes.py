"""What lies between two products, in one or two passes over each row instead of torch's up to ten.

``row_passes.c``, compiled when the package is built; where it was not (no compiler, no wheel for the processor), torch
computes the same (``linear``, ``forward``). Levels differ by one where a value lies on the edge of two, in about one
of 50,000.
"""

import ctypes
import functools
from pathlib import Path

import torch

_TYPES = (torch.float32, torch.bfloat16, torch.uint8)
LIBRARY = Path(__file__).with_name("librow_passes.so")


class RowPasses:
    """The compiled passes, on the CPU. Weights, biases and ``scale`` are contiguous; levels are uint8, what is not said
    to be bfloat16 is float32, scales are a column."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size = ctypes.c_void_p, [ctypes.c_int64] * 2  # rows, columns
        self._levels = library.gte_levels
        self._levels.argtypes = [*[pointer] * 4, *size]
        self._after_gelu = library.gte_levels_after_gelu
        self._after_gelu.argtypes = [*[pointer] * 8, *size]
        self._sum, self._sum_of_half = library.gte_normalised_sum, library.gte_normalised_sum_of_half
        self._sum.argtypes = self._sum_of_half.argtypes = [*[pointer] * 5, ctypes.c_float, *size]
        for function in (self._levels, self._after_gelu, self._sum, self._sum_of_half):
            function.restype = None

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

    def normalised_sum(
        self, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """``layer_norm(x + y)`` by row; ``y`` is float32 or bfloat16."""
        x, y = x.contiguous(), y.contiguous()
        if x.dtype is not torch.float32:
            raise TypeError(f"x is {x.dtype}, not float32")
        out = torch.empty_like(x)
        pass_over = self._sum_of_half if y.dtype is torch.bfloat16 else self._sum
        pass_over(*_addresses(x, y, weight, bias, out), epsilon, *x.shape)
        return out


@functools.cache
def compiled() -> RowPasses | None:
    """The passes, if they were compiled for this processor and system."""
    try:
        return RowPasses(ctypes.CDLL(str(LIBRARY)))
    except (OSError, AttributeError):
        return None


def _addresses(*tensors: torch.Tensor) -> tuple[int, ...]:
    # What is read beyond its end, or as another type, would be no exception but another value.
    for tensor in tensors:
        if not tensor.is_contiguous() or tensor.dtype not in _TYPES or tensor.device.type != "cpu":
            raise TypeError(
                f"{tensor.dtype} on {tensor.device}: contiguous float32, bfloat16 or uint8 is read"
            )
    return tuple(tensor.data_ptr() for tensor in tensors)
