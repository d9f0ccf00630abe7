"""Compile configured access log formats into patterns that read their lines.

Sources: nginx documentation, ngx_http_log_module (log_format, escape) and the variables of ngx_http_core_module and
ngx_http_upstream_module; gunicorn's setting access_log_format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter

import msgspec

# nginx documentation, ngx_http_log_module: the predefined format.
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent"'
)
GUNICORN_DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
MAX_FORMAT_CHARS = 8000

# The fields to read from a line, each with the nginx variables and gunicorn atoms that contain it, the best first.
FIELDS: dict[str, tuple[str, ...]] = {
    "time": ("msec", "time_iso8601", "time_local", "t"),
    "request": ("request", "r"),
    "method": ("request_method", "m"),
    "path": ("request_uri", "uri", "document_uri", "{raw_uri}e", "{gte.path}e", "U"),
    "status": ("status", "s"),
    "length": ("request_length",),
    "sent": ("body_bytes_sent", "bytes_sent", "B", "b"),
    "seconds": ("request_time", "L", "D", "M", "T"),
    "upstream": ("upstream_addr",),
    "upstream_status": ("upstream_status",),
    "agent": ("http_user_agent", "a", "{user-agent}i"),
    "client": ("remote_addr", "realip_remote_addr", "h"),
    "request_id": ("request_id", "http_x_request_id", "{x-request-id}o", "{x-request-id}i"),
    # The visitor, as a proxy in front of nginx names him.
    "forwarded": (
        "http_x_forwarded_for",
        "http_cf_connecting_ip",
        "http_true_client_ip",
        "http_x_real_ip",
        "http_forwarded",
        "proxy_protocol_addr",
    ),
    "host": ("server_name", "host", "http_host", "ssl_server_name"),
    "port": ("server_port",),
}
# Divisors that convert a duration to seconds.
_DIVISORS = {"D": 1e6, "M": 1e3}

_LIST = rb"[^\s,\"']*+(?:(?:, | : )[^\s,\"']++)*+"
# Values with a known form; any other value extends to the text that follows it in the format.
_FORMS = {
    "time_local": rb"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    "time_iso8601": rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)",
    "msec": rb"\d{10}\.\d{3}",
    "t": rb"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]",
    "status": rb"\d{3}",
    "s": rb"\d{3}",
    "request_length": rb"\d++",
    "body_bytes_sent": rb"\d++",
    "bytes_sent": rb"\d++",
    "request_time": rb"\d++\.\d{3}",
    **dict.fromkeys(("B", "b", "T", "D", "M", "L"), rb"[\d.]++|-|None"),
    **dict.fromkeys(("upstream_addr", "upstream_status", "upstream_response_time"), _LIST),
    **dict.fromkeys(("upstream_connect_time", "upstream_header_time", "upstream_response_length"), _LIST),
    **dict.fromkeys(("upstream_bytes_sent", "upstream_bytes_received", "upstream_cache_status"), _LIST),
}
_NGINX_VARIABLE = re.compile(r"\$(?:\{([a-z0-9_]+)\}|([a-z0-9_]+))", re.IGNORECASE)
_GUNICORN_ATOM = re.compile(r"%\((\{[^}]{1,200}\}[a-z]|[a-zA-Z])\)[sd]|%%")


class LogFormat(msgspec.Struct, frozen=True):
    """One format. ``pattern`` matches the beginning of a line, up to the last value to read; ``fields``: the names of
    its groups; ``divisor``: converts the duration to seconds."""

    pattern: re.Pattern[bytes]
    fields: tuple[str, ...]
    divisor: float
    _in_order: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]

    def values(self, line: bytes) -> tuple[bytes, ...] | None:
        """Return a line's values in the order of `FIELDS`, empty if the format has none; None if it does not match."""
        match = self.pattern.match(line)
        return None if match is None else self._in_order((*match.groups(b""), b""))

    def place(self, field: str) -> int:
        """Return the index, from 0, of a field's group in the pattern; -1 if the format does not have the field."""
        return self.fields.index(field) if field in self.fields else -1


@lru_cache(maxsize=64)
def nginx_format(text: str, escape: str = "default") -> LogFormat | None:
    """Compile a ``log_format``, its strings joined. ``escape``: default, json or none. Return None if it lacks
    the time or the status of a request."""
    quoted = rb"(?:[^\"\\]|\\.)*+" if escape == "json" else rb"[^\"]*+"
    pieces: list[str] = []
    names: list[str] = []
    at = 0
    for match in _NGINX_VARIABLE.finditer(text[:MAX_FORMAT_CHARS]):
        pieces.append(text[at : match.start()])
        names.append((match[1] or match[2]).lower())
        at = match.end()
    return _compiled([*pieces, text[at:MAX_FORMAT_CHARS]], names, quoted)


@lru_cache(maxsize=64)
def gunicorn_format(text: str) -> LogFormat | None:
    """Compile gunicorn's ``access_log_format``; return None as `nginx_format` does."""
    pieces, names = [""], []
    at = 0
    for match in _GUNICORN_ATOM.finditer(text[:MAX_FORMAT_CHARS]):
        pieces[-1] += text[at : match.start()]
        if match[1] is None:
            pieces[-1] += "%"
        else:
            names.append(match[1] if len(match[1]) == 1 else match[1].lower())
            pieces.append("")
        at = match.end()
    pieces[-1] += text[at:MAX_FORMAT_CHARS]
    # gunicorn puts a backslash before a quote in a value (SafeAtoms).
    return _compiled(pieces, names, rb"(?:[^\"\\]|\\.)*+")


def _compiled(pieces: list[str], names: list[str], quoted: bytes) -> LogFormat | None:
    """Compile ``pieces`` with one of the values ``names`` between each two."""
    best: dict[str, tuple[int, int]] = {}
    for at, name in enumerate(names):
        for field, candidates in FIELDS.items():
            if name in candidates:
                rank = candidates.index(name)
                if field not in best or rank < best[field][0]:
                    best[field] = (rank, at)
    if "time" not in best or "status" not in best:
        return None
    field_at = {at: field for field, (_, at) in best.items()}
    last = max(field_at)
    pattern, fields = [], []
    for at, name in enumerate(names[: last + 1]):
        pattern.append(re.escape(pieces[at].encode()))
        form = _FORMS.get(name) or _anything(pieces[at], pieces[at + 1], quoted)
        if name in _FORMS:
            form = b"(?:" + form + b"|-?)"  # a variable without a value is a dash, or empty in JSON
        pattern.append(b"(" + form + b")" if at in field_at else b"(?:" + form + b")")
        if at in field_at:
            fields.append(field_at[at])
    # Without the character that ends it, the last value could be cut short.
    pattern.append(re.escape(pieces[last + 1][:1].encode()))
    try:
        compiled = re.compile(b"".join(pattern), re.DOTALL)
    except re.error:
        return None
    seconds = names[best["seconds"][1]] if "seconds" in best else ""
    in_order = itemgetter(*(fields.index(field) if field in fields else -1 for field in FIELDS))
    return LogFormat(compiled, tuple(fields), _DIVISORS.get(seconds, 1.0), in_order)


def _anything(before: str, behind: str, quoted: bytes) -> bytes:
    """Return the pattern of a value of any form. It never backtracks, so that no line can make the search slow."""
    if before.endswith('"') and behind.startswith('"'):
        return quoted
    if not behind:
        return rb".*+"
    end = re.escape(behind[0].encode())
    return rb"[^" + end + rb"]*+"
