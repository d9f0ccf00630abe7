"""What became of the test messages, as text or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from ops.notifications.notify import Delivery, exit_code
from ops.text.language import Language, Text

_OUTCOMES = {
    "accepted": Text(en="accepted", zh="已接受"),
    "refused": Text(en="REFUSED ", zh="被拒绝"),
    "failed": Text(en="FAILED  ", zh="失败  "),
}
_ALL = Text(en="All {} accepted the message.", zh="全部 {} 个目标均已接受。")
_SOME = Text(
    en="{accepted} of {total} accepted the message. A refusal is final until its cause is mended; a failure would be"
    " tried again.",
    zh="{total} 个目标中 {accepted} 个已接受。“被拒绝”需先排除原因；“失败”在实际通知时会自动重试。",
)


def render(form: str, deliveries: Sequence[Delivery], language: Language, out: TextIO) -> None:
    """Write what became of the messages as ``text`` or ``json``, one document. No secret is in either."""
    from ops.report.json_document import write_document
    from ops.report.sentences import showable

    accepted = sum(delivery.outcome == "accepted" for delivery in deliveries)
    if form == "json":
        document = {
            "status": {0: "ok", 2: "fail"}.get(exit_code(deliveries), "unknown"),
            "accepted": accepted,
            "total": len(deliveries),
            "deliveries": [
                {
                    "index": delivery.index,
                    "destination": delivery.destination,
                    "outcome": delivery.outcome,
                    "reason": delivery.reason.to(language),
                    "seconds": round(delivery.seconds, 3),
                }
                for delivery in deliveries
            ],
        }
        write_document(document, out)
        return
    for delivery in deliveries:
        reason = f"  {delivery.reason.to(language)}" if delivery.reason.to(language) else ""
        line = (
            f"{_OUTCOMES[delivery.outcome].to(language)}  {delivery.seconds:4.1f} s"
            f"  notify.urls[{delivery.index}] {delivery.destination}{reason}"
        )
        out.write(showable(line, out) + "\n")
    if accepted == len(deliveries):
        out.write(_ALL.to(language).format(accepted) + "\n")
    else:
        out.write(_SOME.to(language).format(accepted=accepted, total=len(deliveries)) + "\n")
