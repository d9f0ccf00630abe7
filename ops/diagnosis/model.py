"""The diagnosis, which every report renders, and its parts."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.diagnosis.finding import Evidence, Severity
from ops.facts.changes import Change
from ops.facts.status import EXIT_CODES as EXIT_CODES
from ops.facts.status import Status as Status
from ops.text.language import Text


class CheckStatus(StrEnum):
    """The outcome of one check. SKIP: something it needs was not seen; ERROR: the check itself crashed."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    ERROR = "error"


class Viewpoint(StrEnum):
    """Where was looked from: on the host itself, or at its front door alone."""

    HOST = "host"
    OUTSIDE = "outside"


class Symptom(msgspec.Struct, frozen=True):
    """A failure that users see. ``explained_by``: codes of the causes that explain it; empty means unexplained.

    An unexplained one has ``evidence``, the answer's own words and the log lines of the request that showed it;
    ``route``, the request's way through nginx, each step with FILE:LINE; ``next``, commands to try."""

    id: str
    summary: Text
    explained_by: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    route: tuple[Evidence, ...] = ()
    next: tuple[Text, ...] = ()


class Cause(msgspec.Struct, frozen=True):
    """A proven root cause. ``explains``: the symptoms' ids and the codes that only follow from it.

    ``kind``: the particular defect if the code covers several; else empty. ``subjects``: those of several that it is
    about, such as servers of an upstream; empty if there is one alone."""

    code: str
    severity: Severity
    title: Text
    summary: Text
    explains: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    verify: Text
    fix: tuple[Text, ...]
    kind: str = ""
    subjects: tuple[str, ...] = ()

    @property
    def learn(self) -> str:
        """The command that explains the cause in detail."""
        return f"gte-ops explain {self.code}"


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check. ``skipped_because`` is set if it was skipped or crashed; ``is_gap``: something was there
    to judge, and this run did not see it."""

    id: str
    status: CheckStatus
    summary: Text
    duration_ms: float
    skipped_because: Text | None = None
    is_gap: bool = False


class Ignored(msgspec.Struct, frozen=True):
    """A proven cause that the configuration sets aside: the reason, and the last day (ISO 8601)."""

    cause: Cause
    reason: str
    until: str


class RankedChange(msgspec.Struct, frozen=True):
    """One difference from the last baseline. ``fits``: codes of the causes whose evidence includes it."""

    change: Change
    fits: tuple[str, ...] = ()


class LastGood(msgspec.Struct, frozen=True):
    """The baseline of the comparison: when it was first recorded, when the service was last healthy with it (Unix
    seconds), by whom it was recorded, and the number of changes left out."""

    taken_at: float
    confirmed_at: float
    by: str
    omitted: int = 0


class Diagnosis(msgspec.Struct, frozen=True):
    """One run's result. ``started_at`` is Unix seconds, ``utc_offset`` the host's own (seconds east); ``unseen`` lists
    the places that could not be observed, and why; ``ignored`` the proven causes that are set aside; ``changes`` the
    differences from ``last_good``, which is None if no baseline is kept; ``is_from_bundle``: the facts, and with them
    words of the commands, are of a file that somebody else may have written."""

    status: Status
    target: dict[str, str]
    started_at: float
    duration_ms: float
    symptoms: tuple[Symptom, ...]
    causes: tuple[Cause, ...]
    checks: tuple[CheckResult, ...]
    unseen: tuple[tuple[str, Text | str], ...] = ()
    ignored: tuple[Ignored, ...] = ()
    utc_offset: int = 0
    last_good: LastGood | None = None
    changes: tuple[RankedChange, ...] = ()
    viewpoint: Viewpoint = Viewpoint.HOST
    is_from_bundle: bool = False

    @property
    def exit_code(self) -> int:
        """The process's exit code for this result."""
        return EXIT_CODES[self.status]
