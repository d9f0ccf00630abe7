"""The profile of a served second counts every core-second once, whoever calls whom."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.cause_meter import CauseMeter
from benchmarks.embedding_profile import (
    DISPATCH,
    ENGINE,
    REQUESTS,
    REST,
    TOKENIZING,
    core_seconds,
    table,
)


def test_a_cause_does_not_count_what_an_inner_one_counts(tmp_path: Path) -> None:
    def work(seconds: float) -> None:
        ends = time.thread_time() + seconds
        while time.thread_time() < ends:
            pass

    def outer() -> None:
        work(0.02)
        functions.inner()
        functions.inner()

    functions = SimpleNamespace(outer=outer, inner=lambda: work(0.03))
    meter = CauseMeter(tmp_path / "counts")
    meter.wrap(functions, "inner", "inner")
    meter.wrap(functions, "outer", "outer", writes=True)
    functions.outer()
    counts = json.loads((tmp_path / "counts").read_text())
    assert counts["inner"] == pytest.approx(0.06, rel=0.2)
    assert counts["outer"] == pytest.approx(0.02, rel=0.5)
    assert counts["process"] >= counts["inner"] + counts["outer"]


def test_a_failing_function_is_counted_and_fails_as_before(tmp_path: Path) -> None:
    functions = SimpleNamespace(divide=lambda: 1 / 0)
    meter = CauseMeter(tmp_path / "counts")
    meter.wrap(functions, "divide", "arithmetic", writes=True)
    with pytest.raises(ZeroDivisionError):
        functions.divide()
    assert "arithmetic" in json.loads((tmp_path / "counts").read_text())


def test_the_causes_are_all_that_worker_and_engine_took() -> None:
    before = {
        "worker": {TOKENIZING: 1.0, "thread": 2.0, "process": 10.0, "at": 100.0},
        "engine": {ENGINE[0]: 5.0, "process": 20.0, "at": 101.0},
    }
    after = {
        "worker": {TOKENIZING: 2.0, "thread": 2.5, "process": 14.0, "at": 110.0},
        "engine": {ENGINE[0]: 13.0, ENGINE[1]: 4.0, "process": 35.0, "at": 111.0},
    }
    causes = core_seconds(before, after)
    assert sum(causes.values()) == pytest.approx(0.4 + 1.5)
    assert (causes[ENGINE[0]], causes[ENGINE[1]], causes[REST]) == pytest.approx((0.8, 0.4, 0.3))
    assert (causes[TOKENIZING], causes[DISPATCH], causes[REQUESTS]) == pytest.approx((0.1, 0.05, 0.25))
    assert f"| {ENGINE[0]} | 0.800 | 42.1% |" in table(causes, 0.05, 0.1, "")
