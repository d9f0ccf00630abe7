"""The result of one attempt to deliver a message, and the rules that distinguish 'no' from 'not now'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import msgspec

from ops.text.language import Text
from ops.text.sanitize import safe_line

MAX_RETRY_AFTER_S = 3600.0
MAX_REASON_CHARS = 240

# RFC 9110, 15.5.9 and 15.6; RFC 8470, 5.2; RFC 6585, 4. Every other 4xx means that the request itself is wrong.
_TEMPORARY_STATUSES = frozenset({408, 425, 429})
# Vendors add codes faster than they document them; an answer that says busy or too fast is worth another attempt.
_TEMPORARY_WORDS = re.compile(
    r"too (?:many|fast)|frequen|rate.?limit|freq out of limit|over limit|system busy|time.?out|try again"
    r"|限流|频率|过于频繁|繁忙|超时|稍后",
    re.IGNORECASE,
)

_REDIRECTED = Text(
    en="redirected (HTTP {}): a proxy or a login page stands in between",
    zh="被重定向（HTTP {}）：中间有代理或登录页面",
)
_STATUS = Text(en="HTTP {}", zh="HTTP {}")
_NOT_UNDERSTOOD = Text(
    en="HTTP {} without the answer such a robot gives: accepted or not is not known",
    zh="HTTP {}，但返回内容不是该机器人应有的格式，无法确认是否已接受",
)


class DeliveryOutcome(StrEnum):
    """The outcome of one attempt to deliver a message."""

    ACCEPTED = "accepted"  # the peer said so
    REFUSED = "refused"  # it said no, and would say no again
    FAILED = "failed"  # a later attempt may succeed
    UNUSABLE = "unusable"  # the settings' entry is not a URL that anything can be sent to


class DeliveryResult(msgspec.Struct, frozen=True):
    """The result of one attempt. ``retry_after``: seconds that the peer asked to wait, None if it did not."""

    outcome: DeliveryOutcome
    reason: Text = Text(en="", zh="")
    retry_after: float | None = None


ACCEPTED = DeliveryResult(DeliveryOutcome.ACCEPTED)


def temporary_status(status: int) -> bool:
    """Whether a request answered with this HTTP status may succeed unchanged later."""
    return status in _TEMPORARY_STATUSES or 300 <= status < 400 or status >= 500


def temporary_words(words: str) -> bool:
    """Whether the peer's message says 'not now'."""
    return bool(_TEMPORARY_WORDS.search(words))


def judge_status(status: int, headers: Mapping[str, str], now: float) -> DeliveryResult:
    """Judge an answer by status and headers alone."""
    outcome = DeliveryOutcome.FAILED if temporary_status(status) else DeliveryOutcome.REFUSED
    form = _REDIRECTED if 300 <= status < 400 else _STATUS
    return DeliveryResult(outcome, _filled(form, status), retry_after(headers, now))


def judge_code(
    status: int,
    headers: Mapping[str, str],
    code: int | None,
    words: str,
    *,
    pauses: Mapping[int, float],
    hint: Text | None,
    now: float,
) -> DeliveryResult:
    """Judge a robot's answer: its error code decides, not the HTTP status.

    ``code`` and ``words``: the robot's error code and message, None if the answer has none. ``pauses``: the vendor's
    temporary codes, each with the seconds to wait. ``hint``: advice for the reader.
    """
    succeeded = 200 <= status < 300
    if code is None:
        if succeeded:
            return DeliveryResult(
                DeliveryOutcome.FAILED, _filled(_NOT_UNDERSTOOD, status), retry_after(headers, now)
            )
        return judge_status(status, headers, now)
    if code == 0 and succeeded:
        return ACCEPTED
    temporary = code in pauses or temporary_words(words) or (not succeeded and temporary_status(status))
    answer = f"{code} {safe_line(words, MAX_REASON_CHARS)}".strip()
    if not succeeded:
        answer = f"HTTP {status}, {answer}"
    reason = (
        Text(en=answer, zh=answer)
        if hint is None
        else Text(en=f"{answer} ({hint.en})", zh=f"{answer}（{hint.zh}）")
    )
    pause = retry_after(headers, now)
    return DeliveryResult(
        DeliveryOutcome.FAILED if temporary else DeliveryOutcome.REFUSED,
        reason,
        pauses.get(code) if pause is None and temporary else pause,
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the next attempt that the peer asks for, at most an hour.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); Feishu's gateway sends x-ogw-ratelimit-reset, in seconds.
    """
    for name in ("Retry-After", "x-ogw-ratelimit-reset"):
        value = (headers.get(name) or "").strip()[:64]
        if re.fullmatch(r"\d{1,9}", value):
            return min(float(value), MAX_RETRY_AFTER_S)
        if value and name == "Retry-After":
            try:
                return min(max(parsedate_to_datetime(value).timestamp() - now, 0.0), MAX_RETRY_AFTER_S)
            except (ValueError, TypeError, OverflowError):
                continue
    return None


def number(value: Any) -> int | None:
    """A robot's code as a number; some gateways are known to send it as a string."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value.strip()):
        return int(value)
    return None


def _filled(form: Text, value: object) -> Text:
    return Text(en=form.en.format(value), zh=form.zh.format(value))
