"""Find where the application's source reads a visitor's address from what a proxy hands on, if somebody is refused for
asking too often. The source is searched, never run.

Sources: Werkzeug (ProxyFix, access_route), Django (META), Starlette (headers), flask-limiter (get_remote_address)."""

from __future__ import annotations

import re

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.interpret.traffic import answers_in
from ops.text.sanitize import safe_line

_WORDS = (
    *("forwarded", "real-ip", "real_ip", "client-ip", "client_ip", "connecting-ip", "connecting_ip"),
    *("proxyfix", "proxyheadersmiddleware", "access_route", "ipware", "get_ipaddr"),
)
_READS = re.compile(
    r"(?i:x[-_](?:forwarded[-_]for|real[-_]ip|client[-_]ip)|cf[-_]connecting[-_]ip|true[-_]client[-_]ip)"
    r"|\b(?:ProxyFix|ProxyHeadersMiddleware|access_route|ipware|get_ipaddr|forwarded_allow_ips)\b"
)


def forwarded_reads(source: ApplicationSource, *logs: AccessLog | NotSeen) -> tuple[str, ...]:
    """Return FILE:LINE of each such line, none unless one of ``logs`` has a 429."""
    is_limited = any(item.status == "429" for item in answers_in(logs))
    found: list[str] = []
    for file in source.files if is_limited else ():
        if not file.has(*_WORDS):
            continue
        found += [safe_line(file.place(number), 1000) for number, line in file.lines if _READS.search(line)]
        if len(found) >= MAX_ROUTES:
            break
    return tuple(found[:MAX_ROUTES])
