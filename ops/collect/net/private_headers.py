"""Headers that authenticate the probes to the service: a key of their own, read from a file only its owner can read.

They are sent to the service's own gunicorn and, over verified TLS, to the front door; to nobody else. No report,
bundle or log shows a value: if an answer repeats one, with its scheme (`Bearer`) or without, it is hidden.
"""

from __future__ import annotations

import binascii
import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from ops.errors import SettingsError
from ops.facts.base import Facts
from ops.facts.probes import Exchange
from ops.files.bounded_read import open_regular_file
from ops.files.ownership import ROOT
from ops.interpret.address import same_address
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line
from ops.text.secret_scan import HIDDEN

MAX_BYTES = 64 << 10
MAX_HEADERS = 16
# RFC 9110: a field name is a token; a field value has no control characters.
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*)")
# A file must not decide where a request goes or where it ends.
_NOT_THESE = ("host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade")
# Hiding a shorter value would hide ordinary words of an answer.
MIN_HIDDEN = 4
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


FactsT = TypeVar("FactsT", bound=Facts)


class PrivateHeaders(msgspec.Struct, frozen=True):
    """The headers of one file. ``unread``: why this user could not read the file; then no header is sent."""

    path: str
    headers: dict[str, str] = {}
    unread: str = ""


def read_private_headers(path: str) -> PrivateHeaders:
    """Return the headers of a file with lines ``Name: value``; empty lines and lines that begin with # are ignored.

    Raises SettingsError if the file is missing, too large, accessible to others, neither root's nor the caller's, or
    has any other line, no header or too many. The error never repeats a value."""
    setting = f"target.headers_file {safe_line(path, 400)}"
    try:
        with open_regular_file(path) as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1)
    except PermissionError:
        return PrivateHeaders(path, unread=safe_line(f"{path} may not be read", 400))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(
            Text(en=f"{setting}: {safe_line(why, 200)}", zh=f"{setting}：{chinese(safe_line(why, 200))}")
        ) from None
    if status.st_uid not in (ROOT, os.geteuid()):
        raise SettingsError(
            Text(
                en=f"{setting} belongs to user {status.st_uid}: it must be root's or the caller's",
                zh=f"{setting} 属于用户 {status.st_uid}：它必须属于 root 或当前用户",
            )
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError(
            Text(
                en=f"{setting} may be read or written by others: chmod 600 {safe_line(path, 400)}",
                zh=f"{setting} 可被他人读写：请执行 chmod 600 {safe_line(path, 400)}",
            )
        )
    if len(content) > MAX_BYTES:
        raise SettingsError(
            Text(
                en=f"{setting} is larger than {MAX_BYTES >> 10} KiB",
                zh=f"{setting} 超过 {MAX_BYTES >> 10} KiB",
            )
        )
    return PrivateHeaders(path, _parsed(setting, content.decode("latin-1")))


def _parsed(setting: str, text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise SettingsError(
                Text(
                    en=f"{setting}, line {number}: not a header 'Name: value'",
                    zh=f"{setting} 第 {number} 行：不是 'Name: value' 形式的请求头",
                )
            )
        if match[1].lower() in _NOT_THESE:
            raise SettingsError(
                Text(
                    en=f"{setting}, line {number}: {match[1]} is the probe's own and cannot be set",
                    zh=f"{setting} 第 {number} 行：{match[1]} 由探测自身使用，不能设置",
                )
            )
        if not (value := match[2].strip(" \t")):
            raise SettingsError(
                Text(
                    en=f"{setting}, line {number}: {match[1]} has no value",
                    zh=f"{setting} 第 {number} 行：{match[1]} 没有值",
                )
            )
        headers[match[1]] = value
    if not headers:
        raise SettingsError(
            Text(
                en=f"{setting} has no header 'Name: value'", zh=f"{setting} 中没有 'Name: value' 形式的请求头"
            )
        )
    if len(headers) > MAX_HEADERS:
        raise SettingsError(
            Text(
                en=f"{setting} has more than {MAX_HEADERS} headers",
                zh=f"{setting} 中的请求头超过 {MAX_HEADERS} 个",
            )
        )
    return headers


def listens(pid: int, address: str) -> bool:
    """Return whether this process itself listens at ``address``; False if that cannot be seen."""
    import psutil

    from ops.collect.process.processes import listening_address

    try:
        connections = psutil.Process(pid).net_connections(kind="all")
    except (psutil.Error, OSError, ValueError):
        return False
    addresses = (listening_address(connection) for connection in connections)
    return any(each is not None and same_address(each, address) for each in addresses)


def without_private(exchange: Exchange, headers: Mapping[str, str]) -> Exchange:
    """Return ``exchange`` with the names of the headers sent, and with every value that the answer repeats hidden."""
    values = _values(headers)

    def clean(words: str) -> str:
        for value in values:
            words = words.replace(value, HIDDEN)
        return words

    return msgspec.structs.replace(
        exchange,
        private_headers=tuple(headers),
        detail=clean(exchange.detail),
        headers=tuple((name, clean(value)) for name, value in exchange.headers),
        body=clean(exchange.body),
    )


def without_private_words(facts: FactsT, headers: Mapping[str, str]) -> FactsT:
    """Return ``facts`` with every value of a header hidden: an application may log the key that it was sent."""
    content = msgspec.json.encode(facts)
    for value in _values(headers):
        content = content.replace(json.dumps(value, ensure_ascii=False)[1:-1].encode(), HIDDEN.encode())
    return msgspec.json.decode(content, type=type(facts))


def _values(headers: Mapping[str, str]) -> list[str]:
    """Every form of every value, the longest first."""
    return sorted(
        {form for name, value in headers.items() for form in _forms(name, value)}, key=len, reverse=True
    )


def _forms(name: str, value: str) -> Iterator[str]:
    """What may repeat a header's value: itself, its key without the scheme (RFC 9110, 11.4), what Basic encodes
    (RFC 7617), a cookie's value; each as JSON and as HTML write it too."""
    scheme, _, key = value.partition(" ")
    parts = [value, key.strip()]
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            pair = binascii.a2b_base64(key.strip()).decode("utf-8", "replace")
            parts += [pair, pair.partition(":")[2]]
    if name.lower() == "cookie":
        parts += [pair.partition("=")[2].strip() for pair in value.split(";")]
    for part in parts:
        if len(part) >= MIN_HIDDEN:
            yield from (part, json.dumps(part)[1:-1], part.translate(_HTML))
