"""What belongs into a backup is found, or none is made: an archive without nginx's files looks whole and is not."""

from __future__ import annotations

import time

import pytest

from ops.backups import discover
from ops.collect import surroundings
from ops.errors import OpsError
from ops.settings import Settings


@pytest.mark.parametrize("slow", ["_nginx", "_processes"])
def test_a_host_that_is_too_busy_to_be_looked_at_is_not_saved_in_part(
    monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(surroundings, slow, lambda *_: time.sleep(5))
    monkeypatch.setattr(discover, "LOOK_SECONDS", 0.2)
    with pytest.raises(OpsError, match=r"not found within 0\.2 s: .* did not finish within the budget"):
        discover.make_plan(Settings(), None)
