"""The key that signs sessions, and workers that each draw their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, DrawnKey
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    NGINX_ACCESS_LOG,
    NOW,
    access_log,
    but,
    gunicorn_config,
    traffic,
)

KEY = DrawnKey(where="/root/build/app.py:7", written="app.secret_key = os.urandom(24)")


def refused(
    status: str = "401", *, count: int = 9, answered: int = 5, alternating: int = 4, **more: Any
) -> Snapshot:
    """So many requests for a path were refused, ``alternating`` of them between two good answers, and so many
    answered."""
    answers = [
        Answers(
            method="GET",
            path="/me",
            status=each,
            count=number,
            first=NOW - 60,
            last=NOW - 2,
            alternating=min(number, alternating) if each == status else 0,
        )
        for each, number in ((status, count), ("200", answered))
    ]
    log = msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=traffic(*answers))
    facts: dict[str, Any] = {
        "logs__nginx_access": log,
        "logs__drawn_keys": (KEY,),
        "gunicorn__config": gunicorn_config(workers=2),
    }
    return but(**(facts | more))


CASES = [
    fires(
        "APP029",
        "the key is drawn at import, and some requests are refused",
        refused(),
        "os.urandom(24)",
        "9 x GET /me 401, 5 x 2xx",
        severity="warn",
    ),
    fires("APP029", "led to the login", refused("302"), "9 x GET /me 302, 5 x 2xx"),
    quiet("APP029", "the key is a setting", refused(logs__drawn_keys=())),
    quiet("APP029", "one worker", refused(target__gunicorn_workers=(901,))),
    quiet(
        "APP029", "the master imports it for all", refused(gunicorn__config=gunicorn_config(preload_app=True))
    ),
    quiet("APP029", "one request, of a client that had not logged in", refused(count=1)),
    quiet("APP029", "visitors who are not logged in", refused("302", count=2, answered=2, alternating=0)),
    quiet("APP029", "an error is no refusal", refused("500")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
