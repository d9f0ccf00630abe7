"""`gte-ops doctor`: settings --> collect --> Snapshot --> judge --> Findings --> diagnose --> Causes --> report."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ops.checks import CHECKS
from ops.collect import collect
from ops.diagnose import diagnose, with_duration
from ops.diagnosis import Diagnosis
from ops.errors import UsageError
from ops.finding import Check, Finding
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
    """The checks that ``only`` selects, without what ``skip`` does; a code selects that one cause of its check.

    Raises UsageError for an unknown id."""
    for wanted in (*only, *skip):
        if not any(_selects(wanted, check) for check in CHECKS):
            known = [name for check in CHECKS for name in (check.id, *check.codes)]
            near = _nearest(wanted, known)
            raise UsageError(
                f"no check or cause is called {wanted!r}"
                + (f"; the nearest are {', '.join(near)}" if near else f"; layers: {', '.join(_layers())}")
            )
    kept = ((check, tuple(c for c in check.codes if _wants(c, check, only, skip))) for check in CHECKS)
    return tuple(check if codes == check.codes else narrowed(check, codes) for check, codes in kept if codes)


def _nearest(wanted: str, known: Sequence[str]) -> list[str]:
    """The three names that are most like ``wanted``; among equals, those declared first."""
    alike = {name: difflib.SequenceMatcher(None, name, wanted).ratio() for name in known}
    return sorted((name for name in alike if alike[name] >= 0.5), key=lambda name: -alike[name])[:3]


def narrowed(check: Check, codes: tuple[str, ...]) -> Check:
    """``check``, with only the findings that bear one of ``codes``."""

    def judge(**inputs: Any) -> Iterator[Finding]:
        return (finding for finding in check.judge(**inputs) if finding.code in codes)

    return replace(check, codes=codes, judge=judge)


def _wants(code: str, check: Check, only: Sequence[str], skip: Sequence[str]) -> bool:
    def named(words: Sequence[str]) -> bool:
        return any(word == code or (word not in check.codes and _selects(word, check)) for word in words)

    return (not only or named(only)) and not named(skip)


def _selects(wanted: str, check: Check) -> bool:
    return wanted == check.id or check.id.startswith(f"{wanted}.") or wanted in check.codes


def _layers() -> list[str]:
    return list(dict.fromkeys(check.id.partition(".")[0] for check in CHECKS))
