"""The destinations of ``notify.urls``: their ids, and their form without secrets for display."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from urllib.parse import parse_qsl, unquote, urlsplit

from ops.errors import SettingsError
from ops.notifications.webhook_bot import on_this_machine
from ops.settings import MAX_URL_CHARS
from ops.text.language import Text
from ops.text.sanitize import HIDDEN, safe_line

MAX_DESTINATIONS = 20
_NO_URL = Text(en="not an Apprise URL", zh="不是 Apprise 地址")

_SCHEME = re.compile(r"\s*([A-Za-z0-9]{1,32})://(?=\S)")
# Schemes whose host part is a host. For all others it may be a token (dingtalk://TOKEN, tgram://TOKEN).
_HOST_IS_A_HOST = frozenset(
    {
        "http",
        "https",
        "json",
        "jsons",
        "xml",
        "xmls",
        "form",
        "forms",
        "mailto",
        "mailtos",
        "gotify",
        "gotifys",
    }
    | {"ntfy", "ntfys", "mmost", "mmosts", "rocket", "rockets", "matrix", "matrixs", "apprise", "apprises"}
)
_HOST_NAME = re.compile(r"(?:[a-z0-9-]{1,40}\.)+(?:[a-z]{2,12}|\d{1,3})", re.IGNORECASE)
# Shorter words occur in too many sentences to be masked.
_MIN_SECRET_CHARS = 4
_MIN_PART_CHARS = 6


class Destination:
    """One entry of ``notify.urls``. ``index`` counts from 0, as in the file; ``shown`` holds no secret."""

    def __init__(self, index: int, url: str) -> None:
        self.index = index
        self.url = url
        self.shown = masked(url)

    @cached_property
    def id(self) -> str:
        """The id in the outbox.

        Deliberately slow (scrypt, RFC 7914): a URL may contain a mail password, and a reader of the outbox must not be
        able to run a dictionary attack on this.
        """
        return hashlib.scrypt(self.url.encode(), salt=b"gte-ops notify", n=2**12, r=8, p=1, dklen=12).hex()

    def __repr__(self) -> str:
        return f"Destination({self.index}, {self.shown!r})"


def masked(url: str) -> str:
    """``url`` for display: the scheme, the host if it certainly is one, and no secret."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return HIDDEN
    name = scheme[1].lower()
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{name}://{HIDDEN}"
    if name not in _HOST_IS_A_HOST or not (_HOST_NAME.fullmatch(host) or on_this_machine(host)):
        return f"{name}://{HIDDEN}"
    user = f"{HIDDEN}@" if "@" in parts.netloc else ""
    rest = f"/{HIDDEN}" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{name}://{user}{host}{port}{rest}"


def scrubbed(words: str, url: str) -> str:
    """``words`` (of a peer or a library) without any part of ``url`` that could be a secret."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        words = re.sub(re.escape(secret), HIDDEN, words, flags=re.IGNORECASE)
    return safe_line(words, 300)


def destinations(urls: Sequence[str]) -> tuple[Destination, ...]:
    """The entries of ``notify.urls``, without duplicates.

    Raises SettingsError that names the first entry that cannot be a URL. Whether Apprise knows the scheme shows only
    when something is sent: loading its 150 plug-ins takes half a second.
    """
    by_url: dict[str, Destination] = {}
    for index, url in enumerate(urls):
        if (
            _SCHEME.match(url) is None
            or len(url) > MAX_URL_CHARS
            or re.search(r"[\x00-\x20\x7f]", url.strip())
        ):
            raise unusable(index, url)
        by_url.setdefault(url.strip(), Destination(index, url.strip()))
    if len(by_url) > MAX_DESTINATIONS:
        raise SettingsError(
            Text(
                en=f"notify.urls: {len(by_url)} destinations; at most {MAX_DESTINATIONS} are told",
                zh=f"notify.urls：共 {len(by_url)} 个目标，最多只能有 {MAX_DESTINATIONS} 个",
            )
        )
    return tuple(by_url.values())


def unusable(index: int, url: str, why: Text = _NO_URL) -> SettingsError:
    """The error for an entry that nothing can be sent to: one line, its number counted from 0, no secret."""
    return SettingsError(
        Text(
            en=f"notify.urls[{index}] ({masked(url)}): {why.en}; write it like dingtalk://SECRET@TOKEN,"
            " feishu://SECRET@TOKEN, wecombot://KEY or mailtos://user:password@example.com",
            zh=f"notify.urls[{index}]（{masked(url)}）：{why.zh}；写法如 dingtalk://SECRET@TOKEN、"
            "feishu://SECRET@TOKEN、wecombot://KEY 或 mailtos://user:password@example.com",
        )
    )


def _secrets(url: str) -> set[str]:
    """Every part of ``url`` except its scheme and a host that may be shown."""
    public_part = masked(url)
    try:
        parts = urlsplit(url.strip())
        pieces = [url.strip(), parts.netloc, parts.path, parts.query, parts.fragment]
        pieces += re.split(r"[@:/]", parts.netloc) + re.split(r"[/:,@]", parts.path)
        pieces += [value for _, value in parse_qsl(parts.query, keep_blank_values=True)]
        pieces += re.split(r"[&=]", parts.query)
    except ValueError:
        pieces = [url.strip(), *re.split(r"[:/@?&=]+", url)[1:]]
    # Keys of several parts (SG.xxx.yyy) may be quoted in part.
    pieces += [part for piece in pieces for part in piece.split(".") if len(part) >= _MIN_PART_CHARS]
    every = {form for piece in pieces for form in (piece, unquote(piece))}
    return {piece for piece in every if len(piece) >= _MIN_SECRET_CHARS and piece not in public_part}
