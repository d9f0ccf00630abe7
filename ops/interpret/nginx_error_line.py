"""The parts of an entry of nginx's error log: what nginx itself says, apart from what a client wrote into the line.

Source: nginx, ngx_log_error_core (a line's form and length), ngx_http_log_error (what it adds about the request)."""

from __future__ import annotations

import re
from typing import NamedTuple

_CONNECTION = re.compile(r"^\*\d+ ")
# Added to every line about a connection, directly after the message.
_CLIENT = ", client: "
_ABOUT_THE_REQUEST = re.compile(r", (?:client|server|request|upstream|host|referrer|subrequest): ")
_REQUEST = re.compile(r'request: "([A-Z]+) ([^ "?]*)')
_UPSTREAM = re.compile(r'\bupstream: "([^"]*)"')
# Bytes; nginx cuts a line off at 2048 (NGX_MAX_ERROR_STR), its time and level included.
_MAY_BE_CUT_OFF = 1900


class RequestInError(NamedTuple):
    """The request that a line is about; ``path`` without its query, as the client sent it."""

    method: str
    path: str


def message(text: str) -> str:
    """What nginx said, without the connection's number and what it adds about the request. It may quote the client: a
    path, a header."""
    before, client, _ = text.partition(_CLIENT)
    said = before if client else _ABOUT_THE_REQUEST.split(text, maxsplit=1)[0]
    return _CONNECTION.sub("", said).strip()


def own_words(text: str) -> str:
    """The message without what it quotes, all of which may be a client's (``open() "…" failed (2: ...)``).

    A path may contain quotation marks, and what looks like the end of the message: all from the first to the last mark
    is left out, and all from the first one where the end of the message is not certain."""
    said = message(text)
    before, mark, rest = said.partition('"')
    if not mark:
        return said
    _, last, after = rest.rpartition('"')
    ends = text.count(_CLIENT)
    is_certain = ends == 1 or (ends == 0 and not _CONNECTION.match(text))
    if not last or not is_certain or len(text.encode()) > _MAY_BE_CUT_OFF:
        return before
    return f'{before}"…"{after}'


def about_request(text: str) -> str:
    """What nginx adds about the request; empty where a client wrote what may be its beginning."""
    _, client, about = text.partition(_CLIENT)
    return text if not client else "" if _CLIENT in about else about


def request_of(text: str) -> RequestInError | None:
    """The request that nginx says the line is about; None if it names none, or is not certain to."""
    match = _REQUEST.search(about_request(text))
    return RequestInError(match[1], match[2]) if match else None


def upstream(text: str) -> str:
    """The server behind nginx that the line is about, as a URL; empty if it names none."""
    match = _UPSTREAM.search(about_request(text))
    return match[1] if match else ""
