"""The production model's files."""

from __future__ import annotations

from typing import Any

import pytest

from ops.snapshot import NotSeen, Snapshot
from tests.unit.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    HEALTHY,
    MODEL_DIR,
    PREDICT,
    but,
    exchange,
    without_gunicorn,
)

UNREADY = but(
    backend__ready=exchange(503, '{"status": "unavailable", "reason": "model"}', **AT_BACKEND),
    backend__predict=exchange(503, "{}", **{**PREDICT, **AT_BACKEND}),
)
NESTED = f"{MODEL_DIR}/{MODEL_DIR.rpartition('/')[2]}"


def files(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return but(base, **{f"model__{name}": value for name, value in changes.items()})


def gone(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return files(
        base, **{"exists": False, "is_directory": False, "entries": (), "has_config": False, **changes}
    )


def nested(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return files(
        base, **{"nested": True, "has_config": False, "entries": (NESTED.rpartition("/")[2],), **changes}
    )


CASES: list[Case] = [
    fires("MOD001", "the path is absent", gone(), MODEL_DIR, severity="fail"),
    fires("MOD001", "another engine serves all the same", gone(HEALTHY), severity="warn"),
    fires("MOD001", "nothing is known of readiness", gone(but(backend=NotSeen(reason="-"))), severity="fail"),
    fires("MOD001", "the service is down", gone(without_gunicorn()), severity="fail"),
    fires(
        "MOD001",
        "without /ready a prediction tells that it serves",
        gone(but(backend__ready=exchange(404, "{}", **AT_BACKEND))),
        severity="warn",
    ),
    quiet("MOD001", "it is there", HEALTHY),
    quiet("MOD001", "an archive lies beside: that is MOD003", gone(archives=(f"{MODEL_DIR}.zip",))),
    quiet("MOD001", "the directory was not looked at", but(model=NotSeen(reason="-", needs_root=True))),
    fires(
        "MOD002",
        "config.json is one directory below",
        nested(),
        f"{NESTED}/config.json",
        severity="fail",
        facts={"nested_dir": NESTED},
    ),
    fires("MOD002", "another engine serves all the same", nested(HEALTHY), severity="warn"),
    quiet("MOD002", "a copy lies below, but the model is in its place, too", nested(has_config=True)),
    fires(
        "MOD003",
        "the archive is there, the directory is not",
        gone(archives=(f"{MODEL_DIR}.zip",)),
        f"{MODEL_DIR}.zip",
        "does not exist",
        severity="fail",
        facts={"archive": f"{MODEL_DIR}.zip"},
    ),
    fires(
        "MOD003",
        "the directory is empty",
        gone(archives=(f"{MODEL_DIR}.tar.gz",), exists=True, is_directory=True),
        "empty",
    ),
    quiet("MOD003", "unpacked, and the archive was kept", files(archives=(f"{MODEL_DIR}.zip",))),
    quiet("MOD003", "empty, and no archive", gone(exists=True, is_directory=True)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
