"""Merge what several sources tell about a host into one account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from ops.facts.timeline import EventKind, Gap, MinuteTraffic, Timeline, TimelineEvent
from ops.text.language import Text

MAX_EVENTS = 400
MINUTE = 60.0
# Requests begin to fail with a minute in which this share of them does; a single failure among many is an event only if
# nothing succeeds.
FAILING_SHARE = 0.05
MIN_FAILED = 2
# They no longer do after so many minutes without one.
QUIET_MINUTES = 3
# Two sources tell the same thing if they say it within so many seconds.
SAME_SECONDS = 2.0
# What is left out first if there are too many.
_LEAST_TELLING = (
    EventKind.ROTATION,
    EventKind.PACKAGE,
    EventKind.BASELINE,
    EventKind.ERROR,
    EventKind.CHANGE,
)


def merged(
    events: Iterable[TimelineEvent],
    minutes: Sequence[MinuteTraffic],
    since: float,
    until: float,
    utc_offset: int,
    gaps: Iterable[Gap] = (),
) -> Timeline:
    """The events between ``since`` and ``until``, in order, each once, with when requests failed. Pure."""
    own = [event for event in events if since <= event.time <= until]
    all_events = sorted(
        (*_once(own), *failures(minutes)), key=lambda event: (event.time, list(EventKind).index(event.kind))
    )
    shown_events, omitted = _bounded(all_events)
    return Timeline(
        since=since,
        until=until,
        utc_offset=utc_offset,
        minutes=tuple(minutes),
        events=tuple(shown_events),
        gaps=tuple(gaps),
        omitted=omitted,
    )


def _once(events: Sequence[TimelineEvent]) -> Iterator[TimelineEvent]:
    """Each event once: the same words of two sources at the same time are one event; alike ones that follow one another
    in one source are counted."""
    by_words: dict[tuple[EventKind, str], TimelineEvent] = {}
    for event in sorted(events, key=lambda event: event.time):
        key = (event.kind, event.words.en)
        earlier = by_words.get(key)
        if earlier is None:
            by_words[key] = event
            continue
        end = earlier.until or earlier.time
        if event.source != earlier.source and event.time - end <= SAME_SECONDS:
            continue
        if event.time - end <= MINUTE:
            last = max(end, event.until or event.time)
            by_words[key] = replace(earlier, count=earlier.count + event.count, until=last)
            continue
        yield earlier
        by_words[key] = event
    yield from by_words.values()


def failures(minutes: Sequence[MinuteTraffic]) -> Iterator[TimelineEvent]:
    """When requests begin to fail, and when they no longer do."""
    outage: list[MinuteTraffic] = []
    after: list[MinuteTraffic] = []
    for minute in minutes:
        if _is_failing(minute):
            outage += [*after, minute] if outage else [minute]
            after = []
        elif outage:
            after.append(minute)
            if minute.time - outage[-1].time >= QUIET_MINUTES * MINUTE and minute.succeeded:
                yield _failing(outage)
                yield _recovered(outage[-1].time + MINUTE)
                outage, after = [], []
    if outage:
        yield _failing(outage)


def _is_failing(minute: MinuteTraffic) -> bool:
    bad = minute.failed + minute.left
    return bad > 0 and (bad == minute.total or (bad >= MIN_FAILED and bad / minute.total >= FAILING_SHARE))


def _failing(outage: Sequence[MinuteTraffic]) -> TimelineEvent:
    failed = sum(minute.failed + minute.left for minute in outage)
    total = sum(minute.total for minute in outage)
    return TimelineEvent(
        time=outage[0].time,
        kind=EventKind.FAILING,
        source="access log",
        words=Text(
            en=f"requests begin to fail: {failed} of {total} from here on",
            zh=f"请求开始失败：从此 {total} 个中有 {failed} 个失败",
        ),
        until=outage[-1].time + MINUTE,
    )


def _recovered(at: float) -> TimelineEvent:
    return TimelineEvent(
        time=at,
        kind=EventKind.RECOVERED,
        source="access log",
        words=Text(en="requests succeed again", zh="请求恢复正常"),
    )


def _bounded(events: list[TimelineEvent]) -> tuple[list[TimelineEvent], int]:
    """At most `MAX_EVENTS`: without the least telling, of them the oldest first."""
    excess = len(events) - MAX_EVENTS
    if excess <= 0:
        return events, 0
    rank = {kind: number for number, kind in enumerate(_LEAST_TELLING)}
    order = sorted(range(len(events)), key=lambda n: (rank.get(events[n].kind, len(rank)), events[n].time))
    left_out = set(order[:excess])
    return [event for number, event in enumerate(events) if number not in left_out], excess


def buckets(minutes: Sequence[MinuteTraffic], since: float, until: float, most: int) -> list[MinuteTraffic]:
    """The minutes put together into at most ``most`` equal spans of whole minutes that cover the window, the empty ones
    included; ``time`` is a span's beginning."""
    first = since - since % MINUTE
    span = max(1, -int(-(until - first) // (most * MINUTE)))
    count = max(1, -int(-(until - first) // (span * MINUTE)))
    sums = [MinuteTraffic(time=first + number * span * MINUTE) for number in range(count)]
    for minute in minutes:
        number = int((minute.time - first) // (span * MINUTE))
        if 0 <= number < count:
            one = sums[number]
            sums[number] = replace(
                one,
                succeeded=one.succeeded + minute.succeeded,
                refused=one.refused + minute.refused,
                failed=one.failed + minute.failed,
                left=one.left + minute.left,
            )
    return sums
