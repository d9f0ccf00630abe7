"""Of a test's cases CI tries the first and every so many after it, unless the test marks those itself that are long;
`scripts/test --long` tries them all."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from ops.files.host_lock import VARIABLE

HERE = Path(__file__).parent
# Where each case starts servers or whole programs, or where a thousand cases are of one kind.
EVERY = {
    "attacks": 5,
    "browser": 2,
    "lab": 4,
    "system": 4,
    "unit/service/test_rules_cost.py": 2,
    "unit/text/test_secret_scan.py": 4,
}

# Each process of a test run imitates hosts of its own, one after the other.
os.environ[VARIABLE] = str(Path(tempfile.gettempdir(), f"gte-ops-tests-{os.getpid()}.lock"))


def pytest_unconfigure() -> None:
    Path(os.environ[VARIABLE]).unlink(missing_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: Counter[str] = Counter()
    chooses = {_test(item) for item in items if item.get_closest_marker("long")}
    for item in items:
        if not hasattr(item, "callspec") or _test(item) in chooses:
            continue
        place = item.path.relative_to(HERE) if item.path.is_relative_to(HERE) else Path()
        every = EVERY.get(place.as_posix(), EVERY.get(place.parts[0], 1) if place.parts else 1)
        if cases[_test(item)] % every:
            item.add_marker(pytest.mark.long)
        cases[_test(item)] += 1


def _test(item: pytest.Item) -> str:
    """The function, whatever its case."""
    return item.nodeid.partition("[")[0]
