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

# oneDNN chooses the layout for this number of rows; the products are as fast with other numbers.
_ROWS = 512
# GELU's lowest value is -0.16997.
_LEAST_GELU = -0.17


class Linear(Protocol):
    """``x @ weight.T + bias``, followed by GELU (with erf, as in BERT) if the layer was created with it."""

    kind: torch.dtype  # of the result

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: float32, one row a token. Of ``kind``."""


class Packed:
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


class Plain:
    """torch's own product, in the type and on the device of ``weight``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
        self.kind = weight.dtype
        self._weight = weight
        self._bias = bias
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x.to(self.kind), self._weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class Stored:
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
        self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool, after_gelu: bool = False
    ) -> None:
        """``gelu``: followed by GELU; ``after_gelu``: ``x`` is the output of GELU."""
        self.kind = torch.float32
        columns = weight.square().mean(dim=0).sqrt_().clamp_min_(1e-12)
        self._widths = (columns / columns.mean()).clamp_(0.05, 20)
        levels = weight / self._widths
        scale = _largest(levels).clamp_min_(1e-12) / 127
        levels.div_(scale).round_()
        self._scale = scale[:, 0].contiguous()
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.long)
        self._bias = bias.clone()
        self._shift, self._offset = None, None
        if after_gelu:
            self._shift = self._widths * -_LEAST_GELU
            self._bias += levels @ self._widths * self._scale * _LEAST_GELU
        else:
            self._offset = levels.sum(dim=1) * self._scale * -128
        self._weight = torch.ops.onednn.qlinear_prepack(levels.to(torch.int8), [_ROWS, weight.shape[1]])
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # As few and as fast passes over the values as torch offers: they take as long as half the product.
        if self._shift is None:
            x = x * self._widths
            scale = _largest(x).clamp_min_(1e-12).div_(127)
            x.mul_(scale.reciprocal()).add_(128.5)
        else:
            x = torch.addcmul(self._shift, x, self._widths)
            scale = x.amax(dim=1, keepdim=True).clamp_min_(1e-12).div_(255)
            x.mul_(scale.reciprocal()).add_(0.5)
        # Via 32 bits: twice as fast as directly.
        levels = x.to(torch.int32).to(torch.uint8)
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
        y = torch.addcmul(self._bias, y, scale)
        return torch.ops.aten.gelu_(y) if self._gelu else y


def _largest(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, as a column."""
    return torch.maximum(x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True).neg_())


def supports_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 kernels for this processor, however slow."""
    answer: Any = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(answer)
