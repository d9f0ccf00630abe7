"""The outbox's state and its rules: which message still goes to which destination. Pure.

The rules, and why:
- A trouble is reported once until it has recovered: one outage, one message.
- At most HOURLY messages are queued in an hour (pages: PAGES more); the rest is counted and reported in one message as
  soon as there is room. A robot of DingTalk or WeCom is blocked after 20 in a minute, and people stop reading long
  before.
- Destinations are independent: each has its own back-off, its own attempts, its own order of messages.
- After a failure: wait FIRST_PAUSE_S, doubled after each further one, up to LONGEST_PAUSE_S, minus a random part of up
  to half, and never less than the peer asked for. Give up after MAX_ATTEMPTS attempts or MAX_AGE_S.
- A recovery goes to every destination; one that did not receive the trouble gets both in one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

from ops.notifications.delivery_result import MAX_RETRY_AFTER_S, DeliveryOutcome, DeliveryResult
from ops.notifications.message import MAX_TITLE_CHARS, Message, MessageKind
from ops.text.language import Text

HOURLY = 12
PAGES = 8
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 3600.0
MAX_ATTEMPTS = 24
MAX_AGE_S = 24 * 3600.0
MAX_ENTRIES = 100
MAX_OPEN = 300
MAX_OPEN_AGE_S = 30 * 24 * 3600.0
# A trouble that is reported again and again, as by the watchdog, does not write the file each time.
SEEN_EVERY_S = 3600.0
MAX_HELD_TITLES = 10
# The number of messages for one destination in one round.
ROUND_LETTERS = 5
HELD_KEY = "gte-ops.held-back"
# The kinds of message that report a trouble.
_OPENING = (MessageKind.TROUBLE, MessageKind.PAGE)

_HELD_TITLE = Text(en="{} more messages were held back", zh="另有 {} 条消息被合并")
_HELD_LIMIT = Text(
    en="More than {} messages in an hour; among those not sent one by one:",
    zh="一小时内超过 {} 条消息，未逐条发送的包括：",
)


class QueueOutcome(StrEnum):
    """The outcome of handing a message to the outbox."""

    QUEUED = "queued"  # it will be sent
    KNOWN = "known"  # its trouble was reported before, or will be, and has not ended
    UNHEARD_OF = "unheard-of"  # the end of a trouble that was never reported
    HELD_BACK = "held-back"  # over the limit: counted for the summary
    NO_DESTINATION = "no-destination"  # notify.urls is empty


class LedgerEntry(msgspec.Struct):
    """A queued message. ``pending``: attempts so far, for each destination that is not settled.

    ``began``: the trouble that this recovery ends; ``heard``: the destinations that received it.
    """

    number: int
    message: Message
    queued_at: float
    pending: dict[str, int]
    began: Message | None = None
    heard: list[str] = []


class Opened(msgspec.Struct):
    """A trouble without its recovery. ``heard``: the destinations that accepted it; ``kinds``: the kinds of its
    messages so far; ``seen_at``: when it was last reported, to SEEN_EVERY_S; unset in a file of an older version."""

    message: Message
    kinds: list[MessageKind]
    heard: list[str] = []
    seen_at: float | msgspec.UnsetType = msgspec.UNSET

    @property
    def last_at(self) -> float:
        """When it was last reported."""
        return self.message.at if isinstance(self.seen_at, msgspec.UnsetType) else self.seen_at


class Route(msgspec.Struct):
    """A destination's back-off: failures in a row, and no attempt before ``not_before`` (seconds since the epoch)."""

    failures: int
    not_before: float


class Held(msgspec.Struct):
    """Messages over the limit: how many, and the latest titles."""

    count: int = 0
    titles: list[Text] = []


class Ledger(msgspec.Struct):
    """The whole state. Destinations are identified by the hash of their URL; it contains no URL."""

    version: Literal[1] = 1
    next_number: int = 1
    entries: list[LedgerEntry] = []
    opened: dict[str, Opened] = {}
    routes: dict[str, Route] = {}
    queued_at: list[float] = []
    held: Held = msgspec.field(default_factory=Held)


class GivenUp(msgspec.Struct, frozen=True):
    """A message that will not be sent to a destination any more."""

    entry: LedgerEntry
    destination: str
    attempts: int


def add(ledger: Ledger, message: Message, destinations: Sequence[str], now: float) -> QueueOutcome:
    """Queue one message for ``destinations`` (ids)."""
    if not destinations:
        return QueueOutcome.NO_DESTINATION
    if message.kind == MessageKind.RECOVERED:
        return _close(ledger, message, destinations, now)
    trouble = ledger.opened.get(message.key)
    if trouble is not None and not trouble.last_at <= now < trouble.last_at + SEEN_EVERY_S:
        trouble.seen_at = now
        ledger.opened[message.key] = ledger.opened.pop(message.key)  # the last, see _bound_opened
    if trouble is not None and message.kind in trouble.kinds:
        return QueueOutcome.KNOWN
    if trouble is not None:
        trouble.kinds.append(message.kind)
    elif message.kind != MessageKind.TEST:
        ledger.opened[message.key] = Opened(message, [message.kind], seen_at=now)
        _bound_opened(ledger, now)
    return _queue(ledger, LedgerEntry(0, message, now, dict.fromkeys(destinations, 0)), now)


def due(
    ledger: Ledger, destinations: Sequence[str], now: float
) -> tuple[dict[str, list[LedgerEntry]], list[GivenUp]]:
    """The messages to send now, by destination and in order; and those that have become too old."""
    given_up = _expire(ledger, destinations, now)
    _tell_held(ledger, destinations, now)
    work: dict[str, list[LedgerEntry]] = {}
    for destination in destinations:
        route = ledger.routes.get(destination)
        # A pause longer than any that is set means that the clock was set back since.
        if route and now < route.not_before <= now + LONGEST_PAUSE_S + MAX_RETRY_AFTER_S:
            continue
        if letters := [entry for entry in ledger.entries if destination in entry.pending]:
            work[destination] = letters[:ROUND_LETTERS]
    return work, given_up


def settle(
    ledger: Ledger, attempt: LedgerEntry, destination: str, verdict: DeliveryResult, now: float, chance: float
) -> tuple[int, float | None]:
    """Record the result of one attempt to send ``attempt``, an entry returned by `due`.

    ``chance``: 0 to 1, for the jitter. Returns the attempts so far, and when to try again (None: never).
    """
    entry = next((candidate for candidate in ledger.entries if candidate.number == attempt.number), None)
    attempts = (entry or attempt).pending.get(destination, 0) + 1
    retry_at = None
    if verdict.outcome == DeliveryOutcome.FAILED:
        route = ledger.routes.setdefault(destination, Route(0, 0.0))
        route.failures += 1
        route.not_before = now + max(pause(route.failures, chance), verdict.retry_after or 0.0)
        if entry and destination in entry.pending and attempts < MAX_ATTEMPTS:
            entry.pending[destination] = attempts
            retry_at = route.not_before
    else:
        ledger.routes.pop(destination, None)
    if verdict.outcome == DeliveryOutcome.ACCEPTED:
        _heard(ledger, attempt, destination)
    if entry and retry_at is None:
        entry.pending.pop(destination, None)
        _sweep(ledger)
    return attempts, retry_at


def pause(failures: int, chance: float) -> float:
    """Seconds after the ``failures``-th failure in a row; ``chance`` (0 to 1) subtracts up to half."""
    longest = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 20), LONGEST_PAUSE_S)
    return float(longest * (1 - chance / 2))


def _close(ledger: Ledger, message: Message, destinations: Sequence[str], now: float) -> QueueOutcome:
    trouble = ledger.opened.pop(message.key, None)
    if trouble is None:
        return QueueOutcome.UNHEARD_OF
    for entry in ledger.entries:
        if entry.message.key == message.key and entry.message.kind in _OPENING:
            entry.pending.clear()
    _sweep(ledger)
    return _queue(
        ledger,
        LedgerEntry(
            0, message, now, dict.fromkeys(destinations, 0), began=trouble.message, heard=trouble.heard
        ),
        now,
    )


def _queue(ledger: Ledger, entry: LedgerEntry, now: float) -> QueueOutcome:
    limit = HOURLY + PAGES if entry.message.kind == MessageKind.PAGE else HOURLY
    if _recent(ledger, now) >= limit:
        _hold(ledger, entry.message)
        return QueueOutcome.HELD_BACK
    _append(ledger, entry, now)
    return QueueOutcome.QUEUED


def _append(ledger: Ledger, entry: LedgerEntry, now: float) -> None:
    entry.number = ledger.next_number
    ledger.next_number += 1
    ledger.queued_at.append(now)
    ledger.entries.append(entry)
    while len(ledger.entries) > MAX_ENTRIES:
        oldest = next(
            (candidate for candidate in ledger.entries if candidate.message.kind != MessageKind.PAGE),
            ledger.entries[0],
        )
        ledger.entries.remove(oldest)
        _hold(ledger, oldest.message)


def _recent(ledger: Ledger, now: float) -> int:
    """The number queued in the last hour. Times in the future do not count: the clock was set back."""
    ledger.queued_at = [at for at in ledger.queued_at if now - 3600.0 < at <= now]
    return len(ledger.queued_at)


def _hold(ledger: Ledger, message: Message) -> None:
    ledger.held.count += 1
    ledger.held.titles = [*ledger.held.titles, message.title][-MAX_HELD_TITLES:]


def _tell_held(ledger: Ledger, destinations: Sequence[str], now: float) -> None:
    surplus = ledger.held
    if not surplus.count or not destinations or _recent(ledger, now) >= HOURLY:
        return
    bodies = {
        language: "\n".join(
            [
                _HELD_LIMIT.to(language).format(HOURLY),
                *(f"- {title.to(language)[:MAX_TITLE_CHARS]}" for title in surplus.titles),
            ]
        )
        for language in ("en", "zh")
    }
    title = Text(en=_HELD_TITLE.en.format(surplus.count), zh=_HELD_TITLE.zh.format(surplus.count))
    message = Message(HELD_KEY, MessageKind.TROUBLE, title, Text(en=bodies["en"], zh=bodies["zh"]), now)
    ledger.held = Held()
    _append(ledger, LedgerEntry(0, message, now, dict.fromkeys(destinations, 0)), now)


def _heard(ledger: Ledger, attempt: LedgerEntry, destination: str) -> None:
    """Record that ``destination`` received the trouble, also if its recovery was queued while it was being sent."""
    if attempt.message.kind not in _OPENING:
        return
    lists = [later.heard for key, later in ledger.opened.items() if key == attempt.message.key]
    lists += [
        later.heard
        for later in ledger.entries
        if later.message.key == attempt.message.key and later.number > attempt.number
    ]
    for recipients in lists:
        if destination not in recipients:
            recipients.append(destination)


def _expire(ledger: Ledger, destinations: Sequence[str], now: float) -> list[GivenUp]:
    """Remove messages that are too old, and those for destinations that are no longer configured."""
    given_up = []
    for entry in ledger.entries:
        for destination, attempts in list(entry.pending.items()):
            if destination not in destinations:
                del entry.pending[destination]
            elif now - entry.queued_at > MAX_AGE_S:
                del entry.pending[destination]
                given_up.append(GivenUp(entry, destination, attempts))
    ledger.routes = {name: route for name, route in ledger.routes.items() if name in destinations}
    _sweep(ledger)
    return given_up


def _bound_opened(ledger: Ledger, now: float) -> None:
    # By when it was last reported: Alertmanager repeats what lasts, and says when it began, months ago perhaps.
    for key in [key for key, trouble in ledger.opened.items() if now - trouble.last_at > MAX_OPEN_AGE_S]:
        del ledger.opened[key]
    while len(ledger.opened) > MAX_OPEN:
        del ledger.opened[next(iter(ledger.opened))]


def _sweep(ledger: Ledger) -> None:
    ledger.entries = [entry for entry in ledger.entries if entry.pending]
