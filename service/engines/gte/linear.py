"""Linear layers for each serving precision, their weights in the form that the kernels read.

- ``Packed``: oneDNN's own blocked layout, made once; its product runs at 86 to 98 % of the machine's rate from 32 rows
  on, where MKL on the plain layout needs some hundred rows. float32 anywhere, bfloat16 where the processor has
  instructions for it.
- ``Stored``: bfloat16 weights on a processor without such instructions: half the memory, products in float32 from one
  layer's weights at a time. The conversion reads the weights once a batch.
- ``Quantized``: 8-bit weights, a scale for each output channel, and 8-bit activations, a scale for each token.
- ``Plain``: torch's own, for a GPU.
"""

from typing import Any, Protocol

import torch
from torch.nn import functional

# Rows for which oneDNN chooses the layout; the products are as fast with other numbers of rows.
_ROWS = 512


class Linear(Protocol):
    """``x @ weight.T + bias``, followed by GELU (with erf, as BERT has it) where the layer was made so."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: float32, one row a token. float32, or bfloat16 where the products are."""


class Packed:
    """oneDNN on prepacked weights; ``kind`` is the type of weights and products."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, kind: torch.dtype, *, gelu: bool) -> None:
        self._kind = kind
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(kind).contiguous(), _ROWS)
        self._bias = bias.to(kind)
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # GELU by oneDNN in the same pass takes longer than GELU by torch after it: 88 against 71 ms for 512 rows of
        # 1024 x 4096 (with AVX2, one thread, 2026-11-23).
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self._kind), self._weight, self._bias, "none", [], ""
        )
        return functional.gelu(y) if self._gelu else y


class Plain:
    """torch's own product, in the type and on the device of ``weight``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
        self._weight = weight
        self._bias = bias
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x.to(self._weight.dtype), self._weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class Stored:
    """bfloat16 weights, float32 products."""

    # One layer's weights in float32, shared by all layers: they are used one after the other.
    _unpacked: torch.Tensor | None = None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
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
    """oneDNN's 8-bit product: signed weights, unsigned activations with the zero at 128.

    A scale for each row of ``x`` rather than one for all: with one, the largest value of any token in the batch
    coarsens every other, and a text's vector would depend on its company. oneDNN takes no scale by row, so it is told
    a scale of 1, and the rows are scaled afterwards; what the zero point adds is a constant of each channel.

    Some channels of a transformer are many times as wide as the others and would take their levels. What is wide is
    read with small weights, so the columns of the weights tell which: the activations are multiplied by the columns'
    root mean square, and the weights divided by it (the idea of SmoothQuant, Xiao et al. 2023, without its calibration
    texts). Centred cosine with float32 on a made checkpoint of 6 layers: 0.9944 without, 0.9990 with, 0.86 for torch's
    dynamic quantization.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool) -> None:
        columns = weight.square().mean(dim=0).sqrt().clamp_min(1e-12)
        self._widths = (columns / columns.mean()).clamp(0.05, 20)
        weight = weight / self._widths
        largest = weight.abs().amax(dim=1).clamp_min(1e-12)
        scale = largest / 127
        levels = (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._scale = scale.contiguous()
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.long)
        self._offset = levels.sum(dim=1, dtype=torch.float32) * scale * -128
        self._weight = torch.ops.onednn.qlinear_prepack(levels, [_ROWS, weight.shape[1]])
        self._bias = bias.clone()
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self._widths
        scale = x.abs().amax(dim=1, keepdim=True).clamp_min(1e-12).div_(127)
        levels = (x / scale).add_(128.5).to(torch.uint8)
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
        return functional.gelu(y) if self._gelu else y


def supports_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 kernels for this processor. It says what would run at all, not how fast."""
    answer: Any = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(answer)
