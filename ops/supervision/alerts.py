"""How the watchdog reports: messages to people by way of the outbox, and one journal line for each transition.

A message is queued at once and delivered in a thread of its own: no recovery waits for a chat server.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ops.supervision.journald import JournalSocket, Priority, journal_behind
from ops.supervision.sentences import ACTIONS, FAULTS
from ops.supervision.state import ActionKind, Fault
from ops.text.duration import age, age_zh
from ops.text.language import Language, Text
from ops.text.sanitize import safe_line

if TYPE_CHECKING:
    from ops.notifications.message import MessageKind
    from ops.notifications.notify import Outbox
    from ops.settings import NotifySettings

# How long one series of deliveries may take, seconds.
DELIVERY_SECONDS = 15.0
MAX_FACT_CHARS = 2000


# How grave an event is in the journal; every other one is information.
_PRIORITIES = {
    **dict.fromkeys(
        ("round_failed", "state_torn", "holding", "environment_changed", "refused"), Priority.ERR
    ),
    **dict.fromkeys(("act", "saturated", "notify", "notify_failed", "notify_unusable"), Priority.WARNING),
    **dict.fromkeys(("state_unwritable", "metrics_unwritable", "launch_unwritable"), Priority.WARNING),
    **dict.fromkeys(("ping_failed", "headers_unusable", "configuration_kept"), Priority.WARNING),
    **dict.fromkeys(("recovered", "rearmed", "budget_cleared"), Priority.NOTICE),
}


class WatchdogJournal:
    """Writes one JSON line for each event to ``out``; if that leads to systemd's journal, with priority and fields."""

    def __init__(self, out: TextIO, journal: JournalSocket | None = None) -> None:
        self._out = out
        self._journal = journal_behind(out) if journal is None else journal

    def note(self, event: str, **facts: Any) -> None:
        """Write one line: the time, the event and its facts. Empty facts are left out."""
        line = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), "event": event}
        line |= {name: _safe(value) for name, value in facts.items() if value not in (None, "", ())}
        words = json.dumps(line, ensure_ascii=False)
        if self._journal is not None and self._journal.send([("MESSAGE", words), *_fields(event, line)]):
            return
        with contextlib.suppress(OSError, ValueError):
            self._out.write(words + "\n")
            self._out.flush()


def _fields(event: str, line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `journalctl FIELD=VALUE` finds the event by."""
    priority = _PRIORITIES.get(event, Priority.INFO)
    if event == "state" and line.get("fault"):
        priority = Priority.WARNING
    yield "PRIORITY", str(int(priority))
    yield "SYSLOG_IDENTIFIER", "gte-ops"
    yield "EVENT", event
    for name in ("fault", "rung", "state"):
        if name in line:
            yield name.upper(), str(line[name])
    for code in line.get("causes", ()):
        yield "CODE", str(code)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe_line(value, MAX_FACT_CHARS)
    return [_safe(item) for item in value] if isinstance(value, list | tuple) else value


class Notifier:
    """Sends messages to the destinations of ``settings`` by way of the outbox at ``path``. Failures go to the journal
    and are never raised."""

    def __init__(
        self, path: Path, settings: NotifySettings, language: Language, journal: WatchdogJournal
    ) -> None:
        self._journal = journal
        self._arguments = (path, settings, language)
        self._outbox: Outbox | None = None
        self._thread: threading.Thread | None = None
        if settings.urls:
            try:
                self._outbox = self._make_outbox()
            except Exception as error:  # noqa: BLE001  an unusable outbox must not keep the service down
                journal.note("notify_unusable", detail=safe_line(str(error)))

    def _make_outbox(self) -> Outbox:
        # Imported only if somebody is to be notified: a healthy cycle from cron must be short.
        from ops.notifications.notify import Outbox

        path, settings, language = self._arguments
        return Outbox(path, settings.urls, language, ca_file=settings.ca_file)

    def notify(self, key: str, kind: MessageKind, title: Text, body: Text, wall: float) -> None:
        """Queue one message, without any network."""
        if self._outbox is None:
            return
        from ops.notifications.notify import Message

        try:
            self._outbox.add(Message(key, kind, title, body, wall))
        except Exception as error:  # noqa: BLE001  as above
            self._journal.note("notify_unusable", detail=safe_line(str(error)))

    def deliver_beside(self) -> None:
        """Deliver what is due in a thread of its own, unless one is running."""
        if self._outbox is None or (self._thread is not None and self._thread.is_alive()):
            return
        if not self._is_waiting():
            return
        self._thread = threading.Thread(target=self._deliver, name="notify", daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for deliveries under way, at most ``seconds``."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _is_waiting(self) -> bool:
        try:
            return self._outbox is not None and self._outbox.waiting() > 0
        except Exception:  # noqa: BLE001  as above
            return True

    def _deliver(self) -> None:
        from ops.notifications.authorities import unusable_authorities
        from ops.notifications.notify import DeliveryOutcome

        try:
            if (unusable := unusable_authorities(self._arguments[1].ca_file)) is not None:
                self._journal.note("notify_unusable", detail=safe_line(unusable.en))
            now = time.time()
            for delivery in self._make_outbox().deliver(now, now + DELIVERY_SECONDS):
                if delivery.outcome != DeliveryOutcome.ACCEPTED:
                    self._journal.note(
                        "notify",
                        outcome=delivery.outcome,
                        destination=delivery.destination,
                        detail=delivery.reason.en,
                    )
        except Exception as error:  # noqa: BLE001  as above
            self._journal.note("notify_failed", detail=safe_line(str(error)))


def fault_name(fault: Fault) -> Text:
    """The sentence for a fault."""
    return FAULTS.get(fault, Text(en="", zh=""))


def trouble_body(
    detail: Text, causes: tuple[str, ...], evidence: str, doing: Text | None, since_wall: float
) -> Text:
    """The text of the message when a trouble begins: what is wrong, its causes, what is done, where the evidence is."""
    when = datetime.fromtimestamp(since_wall).astimezone().isoformat(timespec="seconds")
    codes = ", ".join(causes)
    en = [detail.en, f"since: {when}"]
    zh = [detail.zh, f"开始于：{when}"]
    if codes:
        en.append(f"causes by the doctor: {codes} (gte-ops explain {causes[0]})")
        zh.append(f"诊断结果：{codes}（gte-ops explain {causes[0]}）")
    if doing is not None:
        en.append(f"action: {doing.en}")
        zh.append(f"处理：{doing.zh}")
    if evidence:
        en.append(f"evidence: {evidence}")
        zh.append(f"证据：{evidence}")
    return Text(en="\n".join(en), zh="\n".join(zh))


def recovery_body(fault: Fault, seconds: float, actions: tuple[ActionKind, ...], evidence: str) -> Text:
    """The text of the message when a trouble ends: what it was, what was done, how long it took."""
    steps = [ACTIONS[action] for action in actions]
    en = [
        f"{fault_name(fault).en}; over after {age(seconds)}",
        f"action: {'; '.join(d.en for d in steps) or 'none, it came back by itself'}",
    ]
    zh = [
        f"{fault_name(fault).zh}；{age_zh(seconds)}后恢复",
        f"处理：{'；'.join(d.zh for d in steps) or '无，自行恢复'}",
    ]
    if evidence:
        en.append(f"evidence: {evidence}")
        zh.append(f"证据：{evidence}")
    return Text(en="\n".join(en), zh="\n".join(zh))
