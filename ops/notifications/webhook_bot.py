"""The common part of the chat robots of DingTalk, Feishu and WeCom; each vendor's rules are in a module of its own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from ops.notifications.delivery_result import number
from ops.text.language import Text


@dataclass(frozen=True)
class Address:
    """A robot's address: its token, the secret for signatures, the people to mention."""

    token: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True)
class BotRequest:
    """The request to post: path and query below the vendor's host, and the JSON document."""

    path: str = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)


class Compose(Protocol):
    """The vendor's request for one text. ``now``: seconds since the epoch, for the signature."""

    def __call__(self, address: Address, text: str, now: float) -> BotRequest: ...


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """One vendor's rules.

    ``host``: the host of its robots, with the scheme. ``native``: the webhook's URL as the vendor's page shows it, with
    a group ``token``. ``max_bytes``: longest text, UTF-8. ``codes``: the answer's fields with the error code, in order
    of preference; ``words``: the fields with the message. ``pauses``: temporary codes and the seconds to wait.
    ``hints``: advice, by pattern over code and message.
    """

    name: str
    schema: str
    host: str
    native: re.Pattern[str]
    token_form: re.Pattern[str]
    max_bytes: int
    signs: bool
    codes: tuple[str, ...]
    words: tuple[str, ...]
    pauses: Mapping[int, float]
    hints: tuple[tuple[re.Pattern[str], Text], ...]
    compose: Compose


def read_answer(vendor: Vendor, document: Any) -> tuple[int | None, str]:
    """The code and the message of a robot's answer; no code if this is not an answer of such a robot.

    If there are several codes (Feishu answers with both generations' fields), one that is not 0 counts.
    """
    if not isinstance(document, dict):
        return None, ""
    codes = [code for name in vendor.codes if (code := number(document.get(name))) is not None]
    words = next((str(document[name]) for name in vendor.words if document.get(name)), "")
    return next((code for code in codes if code != 0), codes[0] if codes else None), words


def hint_for(vendor: Vendor, code: int | None, words: str) -> Text | None:
    """Advice for the reader after this refusal."""
    return next((hint for form, hint in vendor.hints if form.search(f"{code} {words}")), None)


def usable_endpoint(endpoint: str) -> bool:
    """Whether robots may be called at ``endpoint`` (scheme, host and port) instead of the vendor's host.

    The token is a password, so it travels over TLS; plain HTTP is only for a relay on this machine.
    """
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and parts.username is None
    return (
        plain
        and bool(host)
        and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine(host)))
    )


def on_this_machine(host: str) -> bool:
    """Whether ``host`` is certainly this machine: its loopback address, or the name reserved for it (RFC 6761, 6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fitting(text: str, max_bytes: int) -> str:
    """``text`` cut to ``max_bytes`` of UTF-8, between characters: vendors count bytes, and a Chinese character has
    three."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return encoded.decode("utf-8")
    return encoded[: max_bytes - len("…".encode())].decode("utf-8", "ignore") + "…"
