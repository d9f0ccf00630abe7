"""What became of the test messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.diagnosis.model import Status
from ops.notifications.notify import Delivery, DeliveryOutcome, exit_code
from ops.report.model import CaseStatus, CommandReport, ReportCase, ReportLine
from ops.text.language import Language, Text

_STATUSES: dict[int, Status] = {0: Status.OK, 2: Status.FAIL, 3: Status.UNKNOWN}

_OUTCOMES = {
    DeliveryOutcome.ACCEPTED: Text(en="accepted", zh="已接受"),
    DeliveryOutcome.REFUSED: Text(en="REFUSED ", zh="被拒绝"),
    DeliveryOutcome.FAILED: Text(en="FAILED  ", zh="失败  "),
}
_ALL = Text(en="All {} accepted the message.", zh="全部 {} 个目标均已接受。")
_SOME = Text(
    en="{accepted} of {total} accepted the message. A refusal is final until its cause is removed; a failure would be"
    " tried again.",
    zh="{total} 个目标中 {accepted} 个已接受。“被拒绝”需先排除原因；“失败”在实际通知时会自动重试。",
)


class NotifyReport(CommandReport):
    """What `gte-ops notify test` reports. No secret is in it."""

    command = "notify test"

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self.accepted = sum(delivery.outcome == DeliveryOutcome.ACCEPTED for delivery in deliveries)

    @property
    def status(self) -> Status:
        """ok if all accepted, fail if one did not, unknown without any."""
        return _STATUSES[exit_code(self.deliveries)]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each destination, then how many accepted."""
        for delivery in self.deliveries:
            yield self._line(delivery, language)
        if self.accepted == len(self.deliveries):
            yield ReportLine(_ALL.to(language).format(self.accepted))
        else:
            yield ReportLine(_SOME.to(language).format(accepted=self.accepted, total=len(self.deliveries)))

    def headline(self, language: Language) -> str:
        """How many accepted."""
        return [line.plain for line in self.lines(language)][-1]

    def document(self, language: Language) -> dict[str, Any]:
        """``deliveries`` in the settings' order."""
        return {
            "accepted": self.accepted,
            "total": len(self.deliveries),
            "deliveries": [
                {
                    "index": delivery.index,
                    "destination": delivery.destination,
                    "outcome": delivery.outcome,
                    "reason": delivery.reason.to(language),
                    "seconds": round(delivery.seconds, 3),
                }
                for delivery in self.deliveries
            ],
        }

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each destination."""
        return [
            ReportCase(
                "gte-ops.notify",
                f"notify.urls[{delivery.index}] {delivery.destination}",
                CaseStatus.PASS if delivery.outcome == DeliveryOutcome.ACCEPTED else CaseStatus.FAIL,
                delivery.reason.to(language),
                seconds=delivery.seconds,
            )
            for delivery in self.deliveries
        ]

    def _line(self, delivery: Delivery, language: Language) -> ReportLine:
        reason = delivery.reason.to(language)
        return ReportLine(
            f"{delivery.seconds:4.1f} s  notify.urls[{delivery.index}] {delivery.destination}"
            + (f"  {reason}" if reason else ""),
            lead=f"{_OUTCOMES[delivery.outcome].to(language)}  ",
            lead_style="bold green" if delivery.outcome == DeliveryOutcome.ACCEPTED else "bold red",
        )
