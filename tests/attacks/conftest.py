"""Of each attack's cases CI tries the first and every third; `scripts/test --long` tries them all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

EVERY = 3
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: Counter[str] = Counter()
    for item in items:
        if item.path.is_relative_to(HERE) and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            test = f"{item.path}::{item.originalname}"
            if cases[test] % EVERY:
                item.add_marker(pytest.mark.long)
            cases[test] += 1
