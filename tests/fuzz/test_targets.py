"""Whatever stands in a file, an answer or a bundle: no traceback, no hang, no memory without bound.

A sample of a few seconds; the long run is `python -m tests.fuzz` (README.md)."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import examples, pieces
from tests.fuzz.targets import TARGETS

# Several times what the slowest of these inputs takes on a loaded machine, and less than what was mended took.
SECONDS = 20.0
# Larger than any input, far less than what a doubled name or an include of itself took.
MEMORY_BYTES = 100 << 20
REPEATED_BYTES = 60_000


@st.composite
def inputs(draw: st.DrawFn, target: str) -> bytes:
    """An example with a few places changed, or pieces of its language in any order."""
    words = st.one_of(st.sampled_from(pieces(target)), st.binary(max_size=6))
    if draw(st.booleans()):
        return b"".join(draw(st.lists(words, max_size=20)))
    content = bytearray(draw(st.sampled_from(examples(target))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 8))] = draw(words)
    return bytes(content)


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_makes_a_traceback(target: str) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(target))
    def holds(content: bytes) -> None:
        TARGETS[target](content)

    holds()


@pytest.mark.long
@pytest.mark.parametrize(
    ("target", "piece"), [(target, piece) for target in TARGETS for piece in pieces(target)], ids=repr
)
def test_no_piece_said_over_and_over_takes_long_or_much(target: str, piece: bytes) -> None:
    """What is quadratic shows here: twice a piece is nothing, ten thousand times it is a hang."""
    content = piece * (REPEATED_BYTES // len(piece))
    started = time.monotonic()
    TARGETS[target](content)
    assert time.monotonic() - started < SECONDS
    tracemalloc.start()
    try:
        TARGETS[target](content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES
