"""What belongs into a backup is found, or none is made: an archive without nginx's files looks whole and is not."""

from __future__ import annotations

import threading
import time

import pytest

from ops.backups import discover
from ops.collect import surroundings
from ops.collect.services import nginx
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


def test_no_other_configuration_is_saved_where_nginx_is_slow_to_say_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def slow(_: str, timeout: float) -> dict[str, str]:
        released.wait(min(timeout, 10))
        return {}

    monkeypatch.setattr(nginx, "find_binary", lambda *_: "/usr/sbin/nginx")
    monkeypatch.setattr(nginx, "build_facts", slow)
    monkeypatch.setattr(discover, "LOOK_SECONDS", 1.0)
    try:
        with pytest.raises(OpsError, match=r"'nginx configuration' did not finish within the budget"):
            discover.make_plan(Settings(), None)
    finally:
        released.set()
