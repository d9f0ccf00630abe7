"""Of a test's cases CI tries the first and every so many after it; `scripts/test --long` tries them all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Where each case starts servers or whole programs, or where a thousand cases are of one kind.
EVERY = {"attacks": 3, "browser": 2, "lab": 2, "system": 2, "unit/text/test_secret_scan.py": 4}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("long") or not hasattr(item, "callspec"):
            continue
        place = item.path.relative_to(HERE) if item.path.is_relative_to(HERE) else Path()
        every = EVERY.get(place.as_posix(), EVERY.get(place.parts[0], 1) if place.parts else 1)
        test = item.nodeid.partition("[")[0]
        if cases[test] % every:
            item.add_marker(pytest.mark.long)
        cases[test] += 1
