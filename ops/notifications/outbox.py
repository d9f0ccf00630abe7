"""The outbox: messages are queued at once and delivered later, across runs and crashes."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ops.notifications.delivery_result import DeliveryOutcome, DeliveryResult
from ops.notifications.destination import Destination, destinations
from ops.notifications.ledger import MAX_AGE_S, GivenUp, Ledger, LedgerEntry, QueueOutcome, add, due, settle
from ops.notifications.message import Message, MessageKind, bounded, headline, wording
from ops.notifications.store import Store, StoreError, TornError
from ops.notifications.worker import Letter, Report, Round
from ops.notifications.worker_client import send_round
from ops.text.duration import age, in_chinese_units
from ops.text.language import Language, Text
from ops.text.reasons import chinese

# Loading Apprise alone takes about one second on a slow host; with less time than this no round is started.
MIN_ROUND_S = 2.0

_SET_ASIDE = Text(
    en="{} could not be understood and was set aside; messages in it were not sent",
    zh="{} 内容损坏，已另存；其中的消息未能发送",
)
_FROM_MEMORY = Text(
    en="{}; messages are sent from memory and lost if gte-ops ends", zh="{}；消息仅存于内存，进程退出即丢失"
)
_NO_ANSWER = Text(en="no answer within {} s", zh="{} 秒内没有应答")
_NOT_STARTED = Text(en="the sending process could not be started: {}", zh="无法启动发送进程：{}")
_TOO_OLD = Text(en="given up after {} and {} attempts", zh="经过 {} 和 {} 次尝试后放弃")

Result = TypeVar("Result")
Send = Callable[[Round, Callable[[Report], None]], None]


class Delivery(msgspec.Struct, frozen=True):
    """The result of one attempt to deliver a message to one destination.

    ``index``: its index in notify.urls, from 0; ``destination``: its masked URL. ``refused`` is final. ``failed`` is
    tried again at ``retry_at`` (seconds since the epoch), or was given up if that is None. ``seconds``: how long the
    attempt took.
    """

    key: str
    kind: MessageKind
    index: int
    destination: str
    outcome: DeliveryOutcome
    reason: Text = Text(en="", zh="")
    retry_at: float | None = None
    attempts: int = 1
    seconds: float = 0.0


class Outbox:
    """Messages on their way to ``urls``, kept in ``path`` (mode 0600, no URL in it). ``ca_file``: notify.ca_file.

    Raises SettingsError for an entry of ``urls`` that cannot be a URL. Nothing else raises: if the file cannot be used,
    messages are kept in memory and sent all the same, and `problems` reports it. The rules for queueing and retrying
    are in ops/notifications/ledger.py. Several processes may use one file.
    """

    def __init__(
        self,
        path: Path,
        urls: Sequence[str],
        language: Language,
        *,
        ca_file: str = "",
        send: Send = send_round,
    ) -> None:
        self._store = Store(path)
        self._destinations: tuple[Destination, ...] = destinations(urls)
        self._language: Language = language
        self._ca_file = ca_file
        self._send = send
        # The ledger in memory, while the file cannot be written.
        self._afloat: Ledger | None = None
        self._problems: list[Text] = []
        self._guard = threading.RLock()

    def add(self, message: Message, now: float | None = None) -> QueueOutcome:
        """Queue a message; return the outcome at once, without any network. ``now``: default the clock."""
        if not self._destinations:
            return QueueOutcome.NO_DESTINATION
        moment = time.time() if now is None else now
        fit = bounded(message)
        return self._change(lambda ledger: add(ledger, fit, self._ids(), moment))

    def deliver(self, now: float, deadline: float) -> tuple[Delivery, ...]:
        """Send the messages that are due; return one Delivery for each attempt, at the latest at ``deadline`` (seconds
        since the epoch).

        Empty if nothing is due, if another process is delivering, or if less than MIN_ROUND_S is left.
        """
        ends = time.monotonic() + (deadline - now)
        if not self.waiting() or deadline - now < MIN_ROUND_S:
            return ()
        try:
            with self._store.sending() as mine:
                return self._round(now, ends) if mine else ()
        except StoreError as error:
            # A duplicate from another process is better than no message.
            self._problem(error)
            return self._round(now, ends)

    def waiting(self) -> int:
        """The number of messages not yet settled everywhere. Cheap: it reads one small file."""
        if not self._destinations:
            return 0
        with self._guard:
            try:
                ledger = self._store.read() if self._afloat is None else self._afloat
            except TornError:
                return 1  # its content is found when it is set aside
            except StoreError as error:
                self._problem(error)
                return 0
            return len(ledger.entries) + (1 if ledger.held.count else 0)

    def problems(self) -> tuple[Text, ...]:
        """The problems with the file since the last call."""
        with self._guard:
            if self._store.torn is not None:
                name = str(self._store.torn)
                self._problems.append(Text(en=_SET_ASIDE.en.format(name), zh=_SET_ASIDE.zh.format(name)))
                self._store.torn = None
            problems, self._problems = tuple(self._problems), []
            return problems

    def _round(self, now: float, ends: float) -> tuple[Delivery, ...]:
        work, given_up = self._change(lambda ledger: due(ledger, self._ids(), now))
        deliveries = [self._abandoned(item, now) for item in given_up]
        if not work:
            return tuple(deliveries)
        owners = {destination.id: destination for destination in self._destinations}
        letters = list(enumerate((name, entry) for name, entries in work.items() for entry in entries))
        unsettled = dict(letters)
        ended: set[str] = set()  # destinations whose later messages wait behind one that failed
        begun = time.monotonic()

        def record(number: int, verdict: DeliveryResult, seconds: float) -> None:
            name, entry = unsettled.pop(number)
            if verdict.outcome == DeliveryOutcome.UNUSABLE:
                ended.add(name)
                # A URL that Apprise cannot use does not become usable later.
                verdict = DeliveryResult(DeliveryOutcome.REFUSED, verdict.reason)
            elif verdict.outcome == DeliveryOutcome.FAILED:
                ended.add(name)
            moment = now + time.monotonic() - begun
            chance = random.random()  # noqa: S311  (jitter is no secret)
            attempts, retry_at = self._change(
                lambda ledger: settle(ledger, entry, name, verdict, moment, chance)
            )
            deliveries.append(
                _delivery(owners[name], entry.message, verdict, retry_at, attempts=attempts, seconds=seconds)
            )

        def on_report(report: Report) -> None:
            if report.number in unsettled:
                record(report.number, report.verdict, report.seconds)

        routes = tuple(
            (
                owners[name].url,
                tuple(self._letter(n, name, entry, now) for n, (owner, entry) in letters if owner == name),
            )
            for name in work
        )
        why = _NO_ANSWER
        detail = f"{max(0.0, ends - begun):.0f}"
        try:
            self._send(Round(routes, max(0.0, ends - begun), self._ca_file), on_report)
        except OSError as error:
            why, detail = _NOT_STARTED, error.strerror or type(error).__name__
        reason = Text(en=why.en.format(detail), zh=why.zh.format(detail))
        for number, (name, _) in letters:
            # Of each destination only the first message without a result was tried.
            if number in unsettled and name not in ended:
                record(number, DeliveryResult(DeliveryOutcome.FAILED, reason), time.monotonic() - begun)
        return tuple(deliveries)

    def _letter(self, number: int, name: str, entry: LedgerEntry, now: float) -> Letter:
        began = entry.began if name not in entry.heard else None
        return Letter(
            number,
            headline(entry.message, self._language),
            wording(entry.message, self._language, now, began),
            entry.message.kind,
        )

    def _ids(self) -> tuple[str, ...]:
        return tuple(destination.id for destination in self._destinations)

    def _abandoned(self, item: GivenUp, now: float) -> Delivery:
        destination = next(candidate for candidate in self._destinations if candidate.id == item.destination)
        waited = age(max(MAX_AGE_S, now - item.entry.queued_at))
        reason = Text(
            en=_TOO_OLD.en.format(waited, item.attempts),
            zh=_TOO_OLD.zh.format(in_chinese_units(waited), item.attempts),
        )
        return _delivery(
            destination,
            item.entry.message,
            DeliveryResult(DeliveryOutcome.FAILED, reason),
            attempts=item.attempts,
        )

    def _change(self, change: Callable[[Ledger], Result]) -> Result:
        """Apply ``change`` to the ledger and write it; keep it in memory if that fails."""
        with self._guard, contextlib.ExitStack() as stack:
            ledger, writable = self._afloat, True
            try:
                stack.enter_context(self._store.changing())
                ledger = self._store.read_or_set_aside() if ledger is None else ledger
            except StoreError as error:
                self._problem(error)
                ledger, writable = self._last_known() if ledger is None else ledger, False
            before = msgspec.json.encode(ledger)
            result = change(ledger)
            if self._afloat is None and msgspec.json.encode(ledger) == before:
                return result
            self._afloat = ledger
            if writable:
                try:
                    self._store.write(ledger)
                    self._afloat = None
                except StoreError as error:
                    self._problem(error)
            return result

    def _last_known(self) -> Ledger:
        """The file's content, read without its lock; empty if it cannot be read."""
        try:
            return self._store.read()
        except (StoreError, TornError):
            return Ledger()

    def _problem(self, error: StoreError) -> None:
        text = Text(en=_FROM_MEMORY.en.format(error), zh=_FROM_MEMORY.zh.format(chinese(error)))
        if text not in self._problems:
            self._problems.append(text)


def _delivery(
    destination: Destination,
    message: Message,
    verdict: DeliveryResult,
    retry_at: float | None = None,
    *,
    attempts: int = 1,
    seconds: float = 0.0,
) -> Delivery:
    return Delivery(
        key=message.key,
        kind=message.kind,
        index=destination.index,
        destination=destination.shown,
        outcome=verdict.outcome,
        reason=verdict.reason,
        retry_at=retry_at,
        attempts=attempts,
        seconds=seconds,
    )
