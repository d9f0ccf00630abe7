"""Alertmanager's webhook (prometheus.io/docs/alerting/latest/configuration, webhook_config) as messages. Pure.

Whoever can reach the receiver may have written the JSON: everything is bounded, and the outbox cleans every text.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ops.notifications.message import Message, MessageKind
from ops.text.language import Text

MAX_BODY_BYTES = 1 << 20
# alertmanager.yml's max_alerts is smaller.
MAX_ALERTS = 100
MAX_LABELS = 100
# Of labels that the message shows: the rest is in Alertmanager.
MAX_SHOWN_LABELS = 20
_MAX_WORD_CHARS = 1000

_RECOVERED = Text(en="recovered: {}", zh="已恢复：{}")
_MORE = Text(
    en="{} more alerts were cut off by Alertmanager (max_alerts)",
    zh="另有 {} 条告警被 Alertmanager 截去（max_alerts）",
)


class WebhookError(Exception):
    """The JSON is not Alertmanager's; the message says why."""


class AlertStatus(StrEnum):
    """The status of one alert, as Alertmanager writes it."""

    FIRING = "firing"
    RESOLVED = "resolved"


class WebhookAlert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert."""

    status: AlertStatus
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: str = ""
    ends_at: str = ""


class WebhookNotification(msgspec.Struct, frozen=True, rename="camel"):
    """One notification: the alerts of a group."""

    alerts: tuple[WebhookAlert, ...]
    truncated_alerts: int = 0


def read_notification(body: bytes) -> WebhookNotification:
    """The notification in a request's body. Raises WebhookError."""
    try:
        notification = msgspec.json.decode(body, type=WebhookNotification)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WebhookError(f"not Alertmanager's JSON: {str(error)[:200]}") from None
    if len(notification.alerts) > MAX_ALERTS:
        raise WebhookError(
            f"{len(notification.alerts)} alerts, at most {MAX_ALERTS} are taken: set max_alerts"
        )
    if any(len(alert.labels) > MAX_LABELS for alert in notification.alerts):
        raise WebhookError(f"an alert has more than {MAX_LABELS} labels")
    return notification


def messages(notification: WebhookNotification, now: float) -> tuple[Message, ...]:
    """A message for each alert. One that repeats has the key of the first, so that the outbox sends it once."""
    each = tuple(_message(alert, notification.truncated_alerts, now) for alert in notification.alerts)
    # An outage that ends must not wait behind one that begins.
    return tuple(sorted(each, key=lambda message: message.kind is not MessageKind.RECOVERED))


def _message(alert: WebhookAlert, cut_off: int, now: float) -> Message:
    name = alert.labels.get("alertname", "alert")
    title = _in_both(alert.annotations, "summary", name)
    is_over = alert.status is AlertStatus.RESOLVED
    if is_over:
        title = Text(en=_RECOVERED.en.format(title.en), zh=_RECOVERED.zh.format(title.zh))
    kind = MessageKind.PAGE if alert.labels.get("severity") == "critical" else MessageKind.TROUBLE
    return Message(
        key=_key(alert.labels),
        kind=MessageKind.RECOVERED if is_over else kind,
        title=title,
        body=_body(alert, cut_off),
        at=_moment(alert.ends_at if is_over else alert.starts_at, now),
    )


def _body(alert: WebhookAlert, cut_off: int) -> Text:
    description = _in_both(alert.annotations, "description", "")
    shown = sorted(alert.labels.items())[:MAX_SHOWN_LABELS]
    labels = " ".join(f"{_word(name)}={_word(value)}" for name, value in shown)
    shared = [labels, _word(alert.annotations.get("runbook_url", ""))]
    en, zh = [description.en, *shared], [description.zh, *shared]
    if cut_off > 0:
        en.append(_MORE.en.format(cut_off))
        zh.append(_MORE.zh.format(cut_off))
    return Text(en="\n".join(filter(None, en)), zh="\n".join(filter(None, zh)))


def _in_both(annotations: dict[str, str], name: str, otherwise: str) -> Text:
    en = annotations.get(name) or otherwise
    return Text(en=_word(en), zh=_word(annotations.get(f"{name}_zh") or en))


def _word(words: str) -> str:
    return words[:_MAX_WORD_CHARS]


def _key(labels: dict[str, str]) -> str:
    """An alert is what its labels say (Alertmanager's own fingerprint is theirs too)."""
    parts: list[Any] = sorted(labels.items())
    return f"alert-{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"


def _moment(words: str, now: float) -> float:
    """An RFC 3339 time in seconds since the epoch; ``now`` for one that is none, or that is still to come."""
    try:
        moment = datetime.fromisoformat(words[:40]).timestamp()
    except (ValueError, OverflowError, OSError):
        return now
    # Alertmanager's zero time stands for 'not yet'.
    return moment if 0 < moment <= now else now
