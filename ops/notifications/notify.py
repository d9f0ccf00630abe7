"""The interface of ops/notifications, and the test message."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ops.errors import OpsError, SettingsError
from ops.notifications.delivery_result import DeliveryOutcome, DeliveryResult
from ops.notifications.destination import Destination, destinations, masked, unusable
from ops.notifications.ledger import QueueOutcome
from ops.notifications.message import Message, MessageKind, headline, wording
from ops.notifications.outbox import Delivery, Outbox
from ops.notifications.worker import Letter, Report, Round
from ops.notifications.worker_client import send_round
from ops.settings import Settings
from ops.text.language import Language, Text
from ops.text.reasons import chinese

__all__ = [
    "Delivery",
    "DeliveryOutcome",
    "Message",
    "MessageKind",
    "Outbox",
    "QueueOutcome",
    "check_urls",
    "exit_code",
    "masked",
    "require_destinations",
    "send_test",
]

TEST_WITHIN_S = 20.0

_TITLE = Text(en="test message", zh="测试消息")
_BODY = Text(
    en="If you can read this, gte-ops can reach you here. Nothing is wrong.",
    zh="收到此消息说明 gte-ops 可以通知到这里。服务没有异常。",
)
_NO_ANSWER = Text(en="no answer within {:.0f} s", zh="{:.0f} 秒内没有应答")


def check_urls(urls: Sequence[str]) -> None:
    """Raises SettingsError, one line, for an entry of notify.urls that cannot be a URL."""
    destinations(urls)


def require_destinations(settings: Settings) -> tuple[Destination, ...]:
    """The destinations of notify.urls. Raises SettingsError if there is none or an entry cannot be a URL."""
    targets = destinations(settings.notify.urls)
    if not targets:
        raise SettingsError(
            Text(
                en="notify.urls is empty: nobody would be told; add one, e.g. dingtalk://SECRET@TOKEN",
                zh="notify.urls 为空，无人会收到通知；请至少添加一个，例如 dingtalk://SECRET@TOKEN",
            )
        )
    return targets


def send_test(settings: Settings, language: Language, within: float = TEST_WITHIN_S) -> tuple[Delivery, ...]:
    """Send one message to every configured destination, bypassing the outbox; one Delivery each, in the settings'
    order.

    ``within``: seconds for all of them. Raises SettingsError if none is configured or an entry cannot be used, and
    OpsError if no process can be started.
    """
    targets = require_destinations(settings)
    now = time.time()
    message = Message("test", MessageKind.TEST, _TITLE, _BODY, now)
    title, body = headline(message, language), wording(message, language, now)
    reports: dict[int, Report] = {}
    routes = tuple(
        (target.url, (Letter(number, title, body, message.kind),)) for number, target in enumerate(targets)
    )
    try:
        send_round(
            Round(routes, within, settings.notify.ca_file),
            lambda report: reports.__setitem__(report.number, report),
        )
    except OSError as error:
        raise OpsError(
            Text(
                en=f"the sending process could not be started: {error.strerror or error}",
                zh=f"无法启动发送进程：{chinese(error.strerror or error)}",
            )
        ) from None
    for number, target in enumerate(targets):
        if number in reports and reports[number].verdict.outcome == DeliveryOutcome.UNUSABLE:
            raise unusable(target.index, target.url, reports[number].verdict.reason)
    late = DeliveryResult(
        DeliveryOutcome.FAILED, Text(en=_NO_ANSWER.en.format(within), zh=_NO_ANSWER.zh.format(within))
    )
    return tuple(
        _delivery(target, message, reports.get(number, Report(number, late, within)))
        for number, target in enumerate(targets)
    )


def exit_code(deliveries: Sequence[Delivery]) -> int:
    """0 if every destination accepted, 2 if one did not, 3 if there is none."""
    if not deliveries:
        return 3
    return 0 if all(delivery.outcome == DeliveryOutcome.ACCEPTED for delivery in deliveries) else 2


def _delivery(target: Destination, message: Message, report: Report) -> Delivery:
    return Delivery(
        key=message.key,
        kind=message.kind,
        index=target.index,
        destination=target.shown,
        outcome=report.verdict.outcome,
        reason=report.verdict.reason,
        seconds=report.seconds,
    )
