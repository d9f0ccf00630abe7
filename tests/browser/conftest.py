"""One browser for all the tests of a process that look at pages."""

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """Chromium without a window; ``browser.open(...)`` begins a test's page anew."""
    with Chromium() as running:
        yield running
