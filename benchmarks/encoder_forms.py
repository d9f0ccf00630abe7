"""What was tried for GTE's attention over short texts and for int8's passes, beside what the engine does.

    python -m benchmarks.encoder_forms [--times 10] [--type bfloat16]

One thread, one layer of GTE-large's width, processor time of the thread (so what other programs take does not count,
but what they do to caches does): the best of --times, all forms in turn. Ratio to the engine's form, below 1 is
faster, and the largest difference and the lowest cosine of a row to it. Batches of at most 512 tokens, filled as the
queue does.

Attention, of what one product has projected (query, key and value side by side, a row a token):
- flash: one call of torch's flash attention for the texts of each length; what the engine does unless the next is
  quicker;
- by products: ``service.engines.gte.attention.by_products`` for texts long enough, else as before;
- products: two matrix products and a softmax, for each length;
- contiguous: flash, on values brought together by head first;
- padded: one call for the whole batch, shorter texts padded, under a mask;
- block mask: one call for the whole batch as if it were one text, under a mask.
Nested tensors have no kernel for the CPU (torch 2.13: "No viable backend"), the ragged call none either.

int8: a feed-forward layer whose passes between the two products take all rows at once ("whole"), or as many as a core's
cache holds, as the engine does; "products" are these alone.
"""

import argparse
import os

# Before torch: libgomp and malloc read these when they start, as in the engine's process.
os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0")

import random
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate, groupby, pairwise

import torch
from torch.nn import functional

from service.engines.gte import attention as forms
from service.engines.gte import linear

HEADS, WIDTH = 16, 64
HIDDEN, INNER = HEADS * WIDTH, 4096
Form = Callable[[torch.Tensor, list[int], torch.Tensor], None]


def runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    """(first row, texts, length) of the texts of each length."""
    found, begin = [], 0
    for length, same in groupby(lengths):
        count = len(list(same))
        found.append((begin, count, length))
        begin += count * length
    return found


def by_products(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """As ``service.engines.gte.forward.Attention.mix`` where products are quicker."""
    for begin, count, length in runs(lengths):
        if length < forms.LEAST_LENGTH:
            flash(projected[begin:], [length] * count, mixed[begin:])
            continue
        for first in range(begin, begin + count * length, length):
            span = slice(first, first + length)
            text = projected[span].view(length, 3, HEADS, WIDTH).permute(1, 2, 0, 3)
            for heads in (slice(0, HEADS // 2), slice(HEADS // 2, HEADS)):
                answer = forms.by_products(*text[:, heads])
                mixed[span].view(length, HEADS, WIDTH)[:, heads].copy_(answer.transpose(0, 1))


def flash(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """As ``service.engines.gte.forward.Attention.mix`` else."""
    for begin, count, length in runs(lengths):
        span = slice(begin, begin + count * length)
        query, key, value = projected[span].view(count, length, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        answer = functional.scaled_dot_product_attention(query, key, value)
        mixed[span].view(count, length, HEADS, WIDTH).copy_(answer.transpose(1, 2))


def products(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """Two products and a softmax."""
    for begin, count, length in runs(lengths):
        span = slice(begin, begin + count * length)
        query, key, value = projected[span].view(count, length, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        scores = torch.softmax((query @ key.transpose(2, 3)).mul_(WIDTH**-0.5), -1)
        mixed[span].view(count, length, HEADS, WIDTH).copy_((scores @ value).transpose(1, 2))


def contiguous(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """Brought together by head first."""
    by_head = projected.view(-1, 3, HEADS, WIDTH).permute(1, 2, 0, 3).contiguous()
    edges = [0, *accumulate(lengths)]
    for begin, end in pairwise(edges):
        query, key, value = by_head[:, None, :, begin:end]
        answer = functional.scaled_dot_product_attention(query, key, value)
        mixed[begin:end].view(1, end - begin, HEADS, WIDTH).copy_(answer.transpose(1, 2))


def padded(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """One call under a mask of what is padding."""
    longest, edges = max(lengths), [0, *accumulate(lengths)]
    texts = projected.new_zeros(len(lengths), longest, 3, HEADS, WIDTH)
    mask = projected.new_full((len(lengths), 1, 1, longest), float("-inf"))
    for index, (begin, end) in enumerate(pairwise(edges)):
        texts[index, : end - begin] = projected[begin:end].view(-1, 3, HEADS, WIDTH)
        mask[index, ..., : end - begin] = 0
    query, key, value = texts.permute(2, 0, 3, 1, 4)
    answer = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    for index, (begin, end) in enumerate(pairwise(edges)):
        mixed[begin:end].view(-1, HEADS, WIDTH).copy_(answer[index, : end - begin])


def block_mask(projected: torch.Tensor, lengths: list[int], mixed: torch.Tensor) -> None:
    """One call under a mask of what is another text's."""
    rows = sum(lengths)
    mask = projected.new_full((rows, rows), float("-inf"))
    for begin, end in pairwise([0, *accumulate(lengths)]):
        mask[begin:end, begin:end] = 0
    query, key, value = projected.view(1, rows, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
    answer = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    mixed.view(1, rows, HEADS, WIDTH).copy_(answer.transpose(1, 2))


FORMS: dict[str, Form] = {
    "flash": flash,
    "by products": by_products,
    "products": products,
    "contiguous": contiguous,
    "padded": padded,
    "block mask": block_mask,
}


def batches() -> dict[str, list[list[int]]]:
    """Lengths of texts, by kind of batch."""
    choose = random.Random(3)

    def mixed(shortest: int, longest: int) -> list[int]:
        lengths: list[int] = []
        while sum(lengths) + longest <= 512:
            lengths.append(choose.randint(shortest, longest))
        return sorted(lengths)

    return {
        "8 to 200 characters": [mixed(10, 202) for _ in range(3)],
        "8 to 30 characters": [mixed(10, 32) for _ in range(2)],
        "16 of 30 tokens": [[30] * 16],
        "5 of 100 tokens": [[100] * 5],
        "one of 512 tokens": [[512]],
    }


def best(works: Mapping[str, Callable[[], object]], times: int) -> dict[str, float]:
    """The least processor time of each, in seconds, all in turn."""
    least: dict[str, float] = {}
    for _ in range(times):
        for name, work in works.items():
            began = time.thread_time()
            work()
            least[name] = min(least.get(name, 9e9), time.thread_time() - began)
    return least


def attention(times: int, dtype: torch.dtype) -> None:
    """Print a row for each kind of batch."""
    print(f"\n| batch | flash, ms | {' | '.join(FORMS)} |\n|---|---|{'---|' * len(FORMS)}")
    differences: dict[str, tuple[float, float]] = {}
    for kind, several in batches().items():
        ratios: dict[str, list[float]] = {}
        milliseconds = []
        for lengths in several:
            projected = torch.randn(sum(lengths), 3 * HIDDEN).to(dtype)
            mixed = {name: torch.empty(sum(lengths), HIDDEN, dtype=dtype) for name in FORMS}
            works = {name: partial(form, projected, lengths, mixed[name]) for name, form in FORMS.items()}
            least = best(works, times)
            milliseconds.append(1000 * least["flash"])
            for name in FORMS:
                ratios.setdefault(name, []).append(least[name] / least["flash"])
                difference = float((mixed[name] - mixed["flash"]).abs().max())
                cosine = float(
                    functional.cosine_similarity(mixed[name].float(), mixed["flash"].float()).min()
                )
                before = differences.get(name, (0.0, 1.0))
                differences[name] = max(before[0], difference), min(before[1], cosine)
        cells = [
            f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"
            for values in ratios.values()
        ]
        print(f"| {kind} | {statistics.median(milliseconds):.1f} | {' | '.join(cells)} |", flush=True)
    for name, (difference, cosine) in differences.items():
        print(f"{name}: differs from flash by at most {difference:.1e}, lowest cosine {cosine:.7f}")


def feed_forward(times: int) -> None:
    """Print a row for each number of rows."""
    wide = linear.Quantized(torch.randn(INNER, HIDDEN) / 32, torch.randn(INNER), gelu=True)
    narrow = linear.Quantized(
        torch.randn(HIDDEN, INNER) / 64, torch.randn(HIDDEN), gelu=False, after_gelu=True
    )
    print("\n| int8, rows | whole, ms | ours | products alone |\n|---|---|---|---|")
    for rows in (64, 128, 256):
        x = torch.randn(rows, HIDDEN)
        levels = [torch.zeros(rows, columns, dtype=torch.uint8) for columns in (HIDDEN, INNER)]
        works: dict[str, Callable[[], object]] = {
            "whole": partial(lambda x: narrow(wide(x)), x),
            "ours": partial(linear.in_turn, wide, narrow, x),
            "products": partial(lambda a, b: (wide._product(a), narrow._product(b)), *levels),
        }
        equal = torch.equal(narrow(wide(x)), linear.in_turn(wide, narrow, x))
        least = best(works, times)
        cells = [f"{least[name] / least['whole']:.2f}" for name in ("ours", "products")]
        same = "" if equal else " (not the same result)"
        print(f"| {rows} | {1000 * least['whole']:.1f} | {cells[0]}{same} | {cells[1]} |", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Forms of GTE's attention and of int8's passes")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument(
        "--type", choices=("float32", "bfloat16"), default="float32", help="what attention gets and returns"
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.inference_mode():
        attention(arguments.times, getattr(torch, arguments.type))
        feed_forward(arguments.times)


if __name__ == "__main__":
    main()
