"""The benchmark of the encoder's memory counts the weights that docs/engines.md states, and tries every batch size."""

import pytest

from benchmarks.encoder_memory import LARGEST, batches, weight_bytes
from service.engines.gte.checkpoint import Configuration

LARGE = Configuration(
    hidden=1024, layers=24, heads=16, intermediate=4096, vocabulary=21128, kinds=2, positions=512, epsilon=1e-12,
    pooling="cls", normalize=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "stated"), [("float32", 1.3e9), ("bfloat16", 0.65e9), ("int8", 0.35e9)]
)
def test_the_weights_of_the_large_model_are_what_the_guide_says(precision: str, stated: float) -> None:
    assert weight_bytes(LARGE, precision) == pytest.approx(stated, rel=0.02)


def test_a_pass_has_a_batch_of_each_number_of_rows_and_the_longest_text() -> None:
    *several, longest = [sum(map(len, batch)) for batch in batches(LARGE)]
    assert several == list(range(LARGEST, 0, -16))
    assert longest == LARGE.positions
