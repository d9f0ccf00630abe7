"""nginx's systemd unit."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import HEALTHY, but, unit, units, without_nginx


def nginx(snapshot: Snapshot | None = None, **changes: Any) -> Snapshot:
    return but(snapshot or without_nginx(), units=units(unit("nginx.service", **changes)))


FAILED: dict[str, Any] = {"active": "failed", "sub": "failed", "result": "exit-code"}
CASES = [
    fires("NGX052", "masked", nginx(load="masked", active="inactive", sub="dead"), severity="fail"),
    fires("NGX052", "failed too often", nginx(**FAILED | {"result": "start-limit-hit"})),
    fires("NGX052", "its program is gone", nginx(**FAILED, status=203, program_error="no such file")),
    quiet("NGX052", "its configuration is refused, of which nginx says more", nginx(**FAILED, status=1)),
    quiet("NGX052", "stopped in order", nginx(active="inactive", sub="dead")),
    quiet("NGX052", "another nginx runs, started by hand", nginx(HEALTHY, load="masked", active="inactive")),
    quiet("NGX052", "a host without systemd", without_nginx()),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
