"""Linear layers for each serving precision, with weights in the layout that the kernels read.

- ``Packed``: oneDNN's own blocked layout, made once; its product runs at 86 to 98 % of the machine's rate from 32 rows
  on, where MKL on the plain layout needs some hundred rows. float32 anywhere, bfloat16 where the processor has
  instructions for it.
- ``Stored``: bfloat16 weights on a processor without such instructions: half the memory, products in float32 from one
  layer's weights at a time. The conversion reads the weights once a batch.
- ``Quantized``: 8-bit weights, a scale for each output channel, and 8-bit activations, a scale for each token.
- ``Plain``: torch's own product, for a GPU.
"""

from typing import Any, Protocol

import torch
from torch.nn import functional

from service.engines.gte import row_passes
from service.engines.gte.prepacking import Prepacking

# oneDNN chooses the layout for this number of rows; the products are as fast with other numbers.
_ROWS = 512
# Rows of a wide layer that a core's own cache holds: 64 of 4096 in float32 are 1 MB.
_CACHED_ROWS = 64
# Added to a float32 of at most 2**22, it leaves the nearest integer in the lowest bits: without the pass that a
# conversion takes.
_ROUNDING = float(1 << 23)
# GELU's lowest value is -0.16997.
_LEAST_GELU = -0.17


_prepacked = Prepacking(_ROWS)


class Linear(Protocol):
    """``x @ weight.T + bias``, followed by GELU (with erf, as in BERT) if the layer was created with it."""

    kind: torch.dtype  # of the result

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: float32, one row a token. Of ``kind``."""

    def write(self, x: torch.Tensor, target: torch.Tensor) -> None:
        """The same into ``target``, of ``kind``."""


class _Allocating:
    """A layer whose kernel allocates its result."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def write(self, x: torch.Tensor, target: torch.Tensor) -> None:
        """See ``Linear``."""
        target.copy_(self(x))


class Packed(_Allocating):
    """oneDNN on prepacked weights; ``kind`` is the type of weights and products."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, kind: torch.dtype, *, gelu: bool) -> None:
        self.kind = kind
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(kind).contiguous(), _ROWS)
        self._bias = bias.to(kind)
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # GELU by oneDNN in the same pass takes longer than GELU by torch after it: 88 against 71 ms for 512 rows of
        # 1024 x 4096 (with AVX2, one thread, 2026-11-23).
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.kind), self._weight, self._bias, "none", [], ""
        )
        return torch.ops.aten.gelu_(y) if self._gelu else y


class Plain(_Allocating):
    """torch's own product, in the type and on the device of ``weight``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
        self.kind = weight.dtype
        self._weight = weight
        self._bias = bias
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x.to(self.kind), self._weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class Stored(_Allocating):
    """bfloat16 weights, float32 products. For one thread: not for ``ParallelRows``."""

    # One layer's weights in float32: a buffer shared by all layers, which run one after the other.
    _unpacked: torch.Tensor | None = None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
        self.kind = torch.float32
        self._weight = weight.to(torch.bfloat16)
        self._bias = bias.clone()
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        size = self._weight.numel()
        if Stored._unpacked is None or Stored._unpacked.numel() < size:
            Stored._unpacked = torch.empty(size)
        weight = Stored._unpacked[:size].view(self._weight.shape)
        weight.copy_(self._weight)
        y = functional.linear(x, weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class Quantized:
    """oneDNN's 8-bit product: signed weights with a scale for each output channel, unsigned activations with a scale
    for each row.

    Each row of ``x`` has its own scale: with one for all, the largest value of any token in the batch would coarsen
    every other, and a text's vector would depend on the other texts. oneDNN has no scale by row, so it gets a scale of
    1, and the rows are scaled afterwards.

    Activations of either sign have their zero at 128. Those after GELU are never below -0.17: for them -0.17 is level
    0, so that the levels are twice as fine. The contribution of either zero to a product is a constant of the
    channel.

    Some channels of a transformer have values many times as large as the others, which would lose their precision.
    Large channels have small weights, so the columns of the weights identify them: the activations are multiplied by
    the columns' root mean square, and the weights divided by it (the idea of SmoothQuant, Xiao et al. 2023, without
    its calibration texts).
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        *,
        gelu: bool,
        after_gelu: bool = False,
        kind: torch.dtype = torch.float32,
    ) -> None:
        """``gelu``: followed by GELU; ``after_gelu``: ``x`` is the output of GELU; ``kind``: of the result."""
        self.kind = kind
        squares = sum(block.square().sum(dim=0) for block in weight.split(_CACHED_ROWS))
        columns = torch.as_tensor(squares).div_(len(weight)).sqrt_().clamp_min_(1e-12)
        self._widths = (columns / columns.mean()).clamp_(0.05, 20)
        levels = torch.empty(weight.shape, dtype=torch.int8)
        self._scale = torch.empty(len(weight))
        sums = torch.empty(len(weight))
        # A few rows at a time, as above: in half the time.
        for begin in range(0, len(weight), _CACHED_ROWS):
            rows = slice(begin, begin + _CACHED_ROWS)
            block = weight[rows] / self._widths
            scale = _largest(block).clamp_min_(1e-12) / 127
            block.div_(scale).round_()
            levels[rows] = block
            self._scale[rows] = scale[:, 0]
            sums[rows] = block @ self._widths if after_gelu else block.sum(dim=1)
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.long)
        self._bias = bias.clone()
        self._shift, self._offset = None, None
        if after_gelu:
            self._shift = self._widths * -_LEAST_GELU
            self._bias += sums * self._scale * _LEAST_GELU
        else:
            self._offset = sums * self._scale * -128
        self._weight = _prepacked(levels)
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._of_levels(*self._quantized(x)).to(self.kind)

    def write(self, x: torch.Tensor, target: torch.Tensor) -> None:
        """See ``Linear``."""
        if self.kind is torch.float32:
            self._of_levels(*self._quantized(x), target)
        else:
            target.copy_(self._of_levels(*self._quantized(x)))

    def then(self, following: "Quantized", x: torch.Tensor) -> torch.Tensor:
        """``following(self(x))``. What lies between the two products, some ten passes over the values, is computed a
        few rows at a time, so that the values stay in the core's own cache: in half the time, with the same result. If
        they are compiled (``row_passes``), it takes a third of that."""
        levels, scale = self._quantized(x)
        products = self._product(levels)
        if (passes := row_passes.compiled()) and self._gelu and following._shift is not None:
            return following._of_levels(
                *passes.levels_after_gelu(products, scale, self._bias, following._widths, following._shift)
            )
        levels = torch.empty_like(products, dtype=torch.uint8)
        scales = torch.empty_like(scale)
        for begin in range(0, len(x), _CACHED_ROWS):
            rows = slice(begin, begin + _CACHED_ROWS)
            block, scales[rows] = following._scaled(self._finished(products[rows], scale[rows]))
            levels[rows] = block
        return following._of_levels(levels, scales)

    def _quantized(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows in levels of 8 bits, and the scale of each."""
        if (passes := row_passes.compiled()) and self._shift is None:
            return passes.levels(x, self._widths)
        levels, scale = self._scaled(x)
        return levels.to(torch.uint8), scale

    def _scaled(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # As few and as fast passes over the values as torch offers. One pass by quantize_per_tensor instead of the
        # last three is no faster, one by quantize_per_channel three to four times as slow (2026-11-30).
        if self._shift is None:
            x = x * self._widths
            scale = _largest(x).clamp_min_(1e-12).div_(127)
            x.mul_(scale.reciprocal()).add_(_ROUNDING + 128)
        else:
            x = torch.addcmul(self._shift, x, self._widths)
            scale = x.amax(dim=1, keepdim=True).clamp_min_(1e-12).div_(255)
            x.mul_(scale.reciprocal()).add_(_ROUNDING)
        # Their lowest 8 bits are the level.
        return x.view(torch.int32), scale

    def _of_levels(
        self, levels: torch.Tensor, scale: torch.Tensor, target: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._finished(self._product(levels), scale, target)

    def _product(self, levels: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            levels,
            1.0,
            0,
            self._weight,
            self._scale,
            self._zeros,
            self._offset,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return y

    def _finished(
        self, products: torch.Tensor, scale: torch.Tensor, target: torch.Tensor | None = None
    ) -> torch.Tensor:
        y = torch.addcmul(self._bias, products, scale, out=target)
        return torch.ops.aten.gelu_(y) if self._gelu else y


def in_turn(first: Linear, second: Linear, x: torch.Tensor) -> torch.Tensor:
    """``second(first(x))``."""
    if isinstance(first, Quantized) and isinstance(second, Quantized):
        return first.then(second, x)
    return second(first(x))


def _largest(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, as a column."""
    return torch.maximum(x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True).neg_())


def supports_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 kernels for this processor, however slow."""
    answer: Any = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(answer)
