"""Attention within texts on the CPU, in two forms.

- ``flash``: torch's flash attention, any number of texts of one length, in the type of its arguments.
- ``by_products``: one text, two matrix products of all heads at once in bfloat16 with the powers between them. Flash
  attention asks MKL for the products of one head and a few rows at a time; with bfloat16 instructions this form takes
  half its time from some fifty tokens on. Which is quicker is measured at load (``precision``).
"""

import math

import torch
from torch.nn import functional

# Texts of fewer tokens take longer by products than by flash attention.
LEAST_LENGTH = 48


def flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Of texts [texts, heads, tokens, width]: the values mixed for each query, in the shape of ``query``."""
    return functional.scaled_dot_product_attention(query, key, value)


def by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Of one text [heads, tokens, width]: as ``flash``, in bfloat16.

    Softmax stays the same if the mean of the keys is subtracted from each: a query's scores then have the mean 0. They
    keep more of their digits in bfloat16, and the largest is at least 0, so that powers of the scores themselves, and
    not of their distance from the largest, never vanish together. They, their total or their product with the values
    could only overflow, from 88 above the mean (natural logarithm) on, less the logarithms of how many are added up and
    of the values. A query whose total overflows has the result NaN; one whose product alone does, an infinity or NaN.
    """
    heads, tokens, width = query.shape
    scale = math.log2(math.e) / math.sqrt(width)
    rows = _rounded(tokens)
    text = query.new_empty(3, heads, rows, width, dtype=torch.bfloat16)
    if rows > tokens:
        text[:, :, tokens:] = 0
    text[0, :, :tokens] = query
    mean = key.mean(1, keepdim=True)
    if key.dtype is torch.bfloat16:
        torch.add(mean.mul_(-scale), key, alpha=scale, out=text[1, :, :tokens])
    else:
        text[1, :, :tokens] = (key - mean).mul_(scale)
    text[2, :, :tokens] = value
    powers = torch.bmm(text[0], text[1].transpose(1, 2)).exp2_()
    # What is no token has values of 0, so it only must not be counted.
    totals = powers[:, :tokens, :tokens].sum(-1, keepdim=True)
    # The product may still be finite, and a quotient of 0 would pass for a result.
    totals.masked_fill_(totals.isinf(), math.nan)
    return torch.bmm(powers, text[2])[:, :tokens].div_(totals)


def _rounded(tokens: int) -> int:
    """The rows of a text's matrices: a few lengths instead of every one, because oneDNN compiles two kernels for each,
    of 0.65 MB; in steps of at most an eighth."""
    step = 1 << max(3, (tokens - 1).bit_length() - 4)
    return -(-tokens // step) * step
