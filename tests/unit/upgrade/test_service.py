"""What an upgrade asks of systemd before it changes anything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.settings import Settings
from ops.upgrade.run import UpgradeError
from ops.upgrade.service import RunningService


def service(pidfile_of_the_unit: str, *, has_systemd: bool = True) -> RunningService:
    host = SimpleNamespace(has_systemd=has_systemd, property=lambda _unit, _name: pidfile_of_the_unit)
    deployment = SimpleNamespace(unit="gte-api.service", gunicorn_pidfile="/run/gte-api/gunicorn.pid")
    made: Any = RunningService(Settings(), cast(Any, deployment), cast(Any, None), cast(Any, host), 1.0)
    return cast(RunningService, made)


@pytest.mark.parametrize("pidfile", ["", "/run/other.pid"])
def test_a_unit_that_would_end_with_the_old_master_is_refused_before_anything_is_changed(
    pidfile: str,
) -> None:
    with pytest.raises(UpgradeError) as refused:
        service(pidfile).check_handover()
    assert "PIDFile=/run/gte-api/gunicorn.pid" in refused.value.words.en
    assert "gte-ops install" in refused.value.words.zh


def test_a_unit_whose_pidfile_is_gunicorn_s_hands_over() -> None:
    service("/run/gte-api/gunicorn.pid").check_handover()
    service("", has_systemd=False).check_handover()
