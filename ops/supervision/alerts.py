"""What people and programs are told of the watchdog's doings: a message at each end of a trouble, a line a transition.

A message is taken in at once and delivered beside the rounds: no recovery waits for a chat server.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ops.supervision.sentences import FAULTS, RUNGS
from ops.text.duration import age
from ops.text.language import Language, Text
from ops.text.sanitize import safe_line

if TYPE_CHECKING:
    from ops.notifications.notify import Outbox

# How long one round of deliveries may take, seconds.
DELIVERY_SECONDS = 15.0
MAX_FACT_CHARS = 2000


class WatchdogJournal:
    """One structured line a transition, JSON, to ``out``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def note(self, event: str, **facts: Any) -> None:
        """One line: when, what, and what is known of it."""
        line = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), "event": event}
        line |= {name: _safe(value) for name, value in facts.items() if value not in (None, "", ())}
        with contextlib.suppress(OSError, ValueError):
            self._out.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._out.flush()


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe_line(value, MAX_FACT_CHARS)
    return [_safe(item) for item in value] if isinstance(value, list | tuple) else value


class Notifier:
    """Messages to ``urls`` by way of the outbox at ``path``. Trouble with it is noted, and never raised."""

    def __init__(
        self, path: Path, urls: tuple[str, ...], language: Language, journal: WatchdogJournal
    ) -> None:
        self._journal = journal
        self._arguments = (path, urls, language)
        self._outbox: Outbox | None = None
        self._thread: threading.Thread | None = None
        if urls:
            try:
                # Only where somebody is to be told: a healthy round from cron is to be short.
                from ops.notifications.notify import Outbox

                self._outbox = Outbox(*self._arguments)
            except Exception as error:  # noqa: BLE001  who cannot be told must not keep the service down
                journal.note("notify_unusable", detail=safe_line(str(error)))

    def tell(
        self, key: str, kind: Literal["trouble", "recovered", "page"], title: Text, body: Text, wall: float
    ) -> None:
        """Take in one message; no network."""
        if self._outbox is None:
            return
        from ops.notifications.notify import Message

        try:
            self._outbox.add(Message(key, kind, title, body, wall))
        except Exception as error:  # noqa: BLE001  as above
            self._journal.note("notify_unusable", detail=safe_line(str(error)))

    def deliver_beside(self) -> None:
        """Deliver what is due in a thread of its own, unless one is at it."""
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
        from ops.notifications.notify import Outbox

        try:
            now = time.time()
            for delivery in Outbox(*self._arguments).deliver(now, now + DELIVERY_SECONDS):
                if delivery.outcome != "accepted":
                    self._journal.note(
                        "notify",
                        outcome=delivery.outcome,
                        destination=delivery.destination,
                        detail=delivery.reason.en,
                    )
        except Exception as error:  # noqa: BLE001  as above
            self._journal.note("notify_failed", detail=safe_line(str(error)))


def fault_name(fault: str) -> Text:
    """What a fault is called."""
    return FAULTS.get(fault, Text(en=fault, zh=fault))


def trouble_body(
    detail: Text, causes: tuple[str, ...], evidence: str, doing: Text | None, since_wall: float
) -> Text:
    """The message's text when trouble begins: proof, cause, what is done about it, where the evidence lies."""
    when = datetime.fromtimestamp(since_wall).astimezone().isoformat(timespec="seconds")
    named = ", ".join(causes)
    en = [detail.en, f"since: {when}"]
    zh = [detail.zh, f"开始于：{when}"]
    if named:
        en.append(f"causes by the doctor: {named} (gte-ops explain {causes[0]})")
        zh.append(f"诊断结果：{named}（gte-ops explain {causes[0]}）")
    if doing is not None:
        en.append(f"action: {doing.en}")
        zh.append(f"处理：{doing.zh}")
    if evidence:
        en.append(f"evidence: {evidence}")
        zh.append(f"证据：{evidence}")
    return Text(en="\n".join(en), zh="\n".join(zh))


def recovery_body(fault: str, seconds: float, rungs: tuple[str, ...], evidence: str) -> Text:
    """The message's text when trouble ends: what it was, what was done, how long it took."""
    done = [RUNGS.get(rung, Text(en=rung, zh=rung)) for rung in rungs]
    en = [
        f"{fault_name(fault).en}; over after {age(seconds)}",
        f"action: {'; '.join(d.en for d in done) or 'none, it came back by itself'}",
    ]
    zh = [
        f"{fault_name(fault).zh}；{age(seconds)} 后恢复",
        f"处理：{'；'.join(d.zh for d in done) or '无，自行恢复'}",
    ]
    if evidence:
        en.append(f"evidence: {evidence}")
        zh.append(f"证据：{evidence}")
    return Text(en="\n".join(en), zh="\n".join(zh))
