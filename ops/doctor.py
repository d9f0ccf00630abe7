"""`gte-ops doctor`: settings --> collect --> Snapshot --> judge --> Findings --> diagnose --> Causes --> report."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence

from ops.checks import CHECKS
from ops.collect import collect
from ops.diagnose import diagnose, with_duration
from ops.diagnosis import Diagnosis
from ops.errors import UsageError
from ops.finding import Check
from ops.settings import Settings


def examine(
    settings: Settings, *, since: float, budget: float, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> Diagnosis:
    """Look at this host and say what is wrong with it.

    ``since``: how far back logs count (seconds); ``budget``: the whole run's length (seconds); ``only`` and ``skip``:
    ids of checks, their layers (``tls``) or codes of causes. Raises UsageError for one that does not exist."""
    chosen = chosen_checks(only, skip)
    started = time.monotonic()
    snapshot = collect(settings, since, budget)
    return with_duration(diagnose(snapshot, chosen), time.monotonic() - started)


def chosen_checks(only: Sequence[str], skip: Sequence[str]) -> tuple[Check, ...]:
    """The checks that ``only`` selects, without those that ``skip`` does. Raises UsageError for an unknown id."""
    for wanted in (*only, *skip):
        if not any(_selects(wanted, check) for check in CHECKS):
            known = [name for check in CHECKS for name in (check.id, *check.codes)]
            near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
            raise UsageError(
                f"no check or cause is called {wanted!r}"
                + (f"; the nearest are {', '.join(near)}" if near else f"; layers: {', '.join(_layers())}")
            )
    return tuple(
        check
        for check in CHECKS
        if (not only or any(_selects(wanted, check) for wanted in only))
        and not any(_selects(unwanted, check) for unwanted in skip)
    )


def _selects(wanted: str, check: Check) -> bool:
    return wanted == check.id or check.id.startswith(f"{wanted}.") or wanted in check.codes


def _layers() -> list[str]:
    return list(dict.fromkeys(check.id.partition(".")[0] for check in CHECKS))
