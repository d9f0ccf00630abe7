"""What happened on the host: events, and its requests minute by minute."""

from __future__ import annotations

from enum import StrEnum

from ops.facts.base import Facts
from ops.text.language import Text


class EventKind(StrEnum):
    """What kind of thing happened, in the order in which events of one moment are told."""

    BOOT = "boot"
    CLOCK = "clock"  # the clock was set
    DEPLOYMENT = "deployment"
    CHANGE = "change"
    PACKAGE = "package"
    CERTIFICATE = "certificate"
    ROTATION = "rotation"
    STOP = "stop"
    START = "start"
    RELOAD = "reload"
    FAILING = "failing"  # requests begin to fail
    ERROR = "error"
    KILL = "kill"  # by the kernel, because memory ran out
    WATCHDOG = "watchdog"
    REPAIR = "repair"  # gte-ops doctor --fix
    RECOVERED = "recovered"  # requests no longer fail
    BASELINE = "baseline"
    VERDICT = "verdict"  # the doctor's


class TimelineEvent(Facts, frozen=True):
    """One event, or ``count`` alike from ``time`` to ``until`` (Unix seconds). ``source``: the file or program that
    tells it; ``code``: of the cause, for verdicts and repairs."""

    time: float
    kind: EventKind
    source: str
    words: Text
    count: int = 1
    until: float | None = None
    code: str = ""


class MinuteTraffic(Facts, frozen=True):
    """The requests of one minute. ``time``: its beginning; ``succeeded``: 1xx to 3xx; ``refused``: 4xx but 499;
    ``failed``: 5xx, and requests without an answer; ``left``: 499, clients that gave up."""

    time: float
    succeeded: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0

    @property
    def total(self) -> int:
        """All requests of the minute."""
        return self.succeeded + self.refused + self.failed + self.left


class Gap(Facts, frozen=True):
    """A part of the window of which a source tells nothing, and why."""

    source: str
    since: float
    until: float
    reason: str


class Timeline(Facts, frozen=True):
    """The events of ``since`` to ``until``, oldest first. ``omitted``: events beyond the bound, the least telling;
    ``utc_offset``: the host's zone, seconds east."""

    since: float
    until: float
    utc_offset: int
    minutes: tuple[MinuteTraffic, ...]
    events: tuple[TimelineEvent, ...]
    gaps: tuple[Gap, ...] = ()
    omitted: int = 0
