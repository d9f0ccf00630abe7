"""What the comparison with a real nginx shares."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's path (108 bytes), open to nginx's workers."""
    with tempfile.TemporaryDirectory(prefix="gte-route-") as place:
        yield Path(place)
