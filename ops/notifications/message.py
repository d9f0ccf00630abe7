"""Messages to people: their content, and the text that is sent."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from ops.text.duration import age, age_zh
from ops.text.language import Language, Text
from ops.text.sanitize import safe_line, safe_text

# In every message, as the keyword for robots that require one (DingTalk, Feishu).
PREFIX = "[gte-ops]"
MAX_TITLE_CHARS = 200
MAX_BODY_CHARS = 3000
MAX_KEY_CHARS = 200
# A message delivered later than this says so: "down" an hour ago is not "down now".
LATE_AFTER_S = 300.0

_LATE = Text(en="delivered {} late", zh="延迟 {} 送达")
_BEGAN = Text(en="It began {}: {}", zh="始于 {}：{}")


class MessageKind(StrEnum):
    """What a message is about. The values are on disk, in the outbox."""

    TROUBLE = "trouble"  # a trouble has begun
    RECOVERED = "recovered"  # it has ended
    PAGE = "page"  # a person has to act
    TEST = "test"


class Message(msgspec.Struct, frozen=True):
    """A message to people.

    ``key`` identifies the trouble (``GUN003``, ``worker-4711``): it is reported once until it has recovered.
    ``at``: when it happened, seconds since the epoch.
    """

    key: str
    kind: MessageKind
    title: Text
    body: Text
    at: float


def bounded(message: Message) -> Message:
    """The message, sanitised for storing and sending: no control characters, no credentials, at most a screen."""
    return Message(
        key=safe_line(message.key, MAX_KEY_CHARS),
        kind=message.kind,
        title=Text(
            en=safe_line(message.title.en, MAX_TITLE_CHARS), zh=safe_line(message.title.zh, MAX_TITLE_CHARS)
        ),
        body=Text(
            en=safe_text(message.body.en, MAX_BODY_CHARS), zh=safe_text(message.body.zh, MAX_BODY_CHARS)
        ),
        at=message.at,
    )


def headline(message: Message, language: Language) -> str:
    """The title as sent."""
    return f"{PREFIX} {message.title.to(language)}"


def wording(message: Message, language: Language, now: float, began: Message | None = None) -> str:
    """The body as sent: what happened, where and when.

    ``began``: the trouble whose recovery this is, for a destination that did not receive it.
    """
    lines = [message.body.to(language)]
    if began is not None:
        lines += ["", _BEGAN.to(language).format(local_time(began.at), began.title.to(language))]
        lines += [began.body.to(language)]
    footer = f"{socket.gethostname()}  {local_time(message.at)}"
    if now - message.at > LATE_AFTER_S:
        late = age_zh(now - message.at) if language == "zh" else age(now - message.at)
        footer += f"  ({_LATE.to(language).format(late)})"
    return "\n".join([*lines, "", footer]).lstrip()


def local_time(at: float) -> str:
    """``at`` (seconds since the epoch) in this host's local time, with its offset."""
    try:
        return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError, OSError):
        return f"@{at}"
