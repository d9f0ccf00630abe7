"""User requests that the framework refuses, found by its messages in the service's logs.

Sources: Django documentation, CSRF_TRUSTED_ORIGINS and SECURE_PROXY_SSL_HEADER; django.middleware.csrf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from ops.diagnosis.checks.log_reading import service_logs
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret.sent_header import how_to_send, sent_header
from ops.interpret.site import find_site
from ops.interpret.traffic import judged_since
from ops.text.language import Text

# django.middleware.csrf: REASON_BAD_ORIGIN, REASON_BAD_REFERER; django.utils.log: "Forbidden (REASON): PATH".
_FOREIGN = re.compile(
    r"(?:Origin|Referer) checking failed - (https?://[^\s/]+)\S* does not match any trusted origins"
    r"(?:.{0,20}: (/[^\s?]*))?"
)


class _Refused(NamedTuple):
    """One refusal in a log: the log's path, the line, the refused origin, and the path of the request."""

    log: str
    line: str
    origin: str
    path: str


@check(
    "app.trusted_origins",
    "APP025",
    en="the application takes its own site's forms",
    zh="应用接受本站页面提交的表单",
)
def trusted_origins(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP025: the framework's protection against forged requests (CSRF) refuses the site's own origin."""
    site = (
        find_site(nginx_config, target.domain, target.backend)
        if isinstance(nginx_config, NginxConfig)
        else None
    )
    names = {target.domain.lower(), *(name.lower() for name in (site.server.names if site else ()))}
    refusals = [item for item in _refused(logs) if (urlsplit(item.origin).hostname or "") in names]
    if not refusals:
        return
    newest = refusals[-1]
    path = newest.path or "/"
    settings = Text(
        en="If it is refused still: in the settings of Django, CSRF_TRUSTED_ORIGINS = "
        f'["{newest.origin}"], or SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
        zh=f'如果仍被拒绝：在 Django 的 settings 里写 CSRF_TRUSTED_ORIGINS = ["{newest.origin}"]，'
        '或 SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    )
    untold = (
        tuple(_untold(nginx_config, target, path, newest.origin))
        if isinstance(nginx_config, NginxConfig)
        else ()
    )
    edits = tuple(step for item in untold for step in item.steps)
    yield Finding(
        "APP025",
        (quote(newest.log, newest.line), *(quote(item.where, item.statement) for item in untold)),
        {"count": str(len(refusals)), "path": path, "origin": newest.origin},
        fix=(*edits, *((target.test_nginx, target.reload_nginx) if edits else ()), settings),
    )


class _Untold(NamedTuple):
    """A missing or wrong header that the framework needs to recognise the origin as its own."""

    where: str
    statement: str
    steps: tuple[str | Text, ...]


def _untold(config: NginxConfig, target: Target, path: str, origin: str) -> Iterator[_Untold]:
    """The headers for the request's scheme and host that nginx does not send, or sends wrong, for ``path``."""
    proto = sent_header(config, target, path, "X-Forwarded-Proto")
    if proto is not None and proto.sent is None and origin.startswith("https:"):
        line = "proxy_set_header X-Forwarded-Proto $scheme;"
        yield _Untold(
            proto.where,
            f"no X-Forwarded-Proto for {path}",
            (how_to_send(proto, line), put_before_line(proto.where, line)),
        )
    host = sent_header(config, target, path, "Host")
    if host is None:
        return
    # $host has no port, but a browser's Origin has one if it is not the scheme's default.
    variable = "$http_host" if urlsplit(origin).port else "$host"
    line = f"proxy_set_header Host {variable};"
    if host.sent is None:
        yield _Untold(
            host.where,
            f"no Host for {path}: nginx sends $proxy_host",
            (how_to_send(host, line), put_before_line(host.where, line)),
        )
    elif len(host.sent.args) == 2 and host.sent.args[1] not in ("$http_host", variable):
        where = f"{host.sent.file}:{host.sent.line}"
        yield _Untold(
            where,
            f"proxy_set_header Host {host.sent.args[1]}",
            (replaced_in_line(where, host.sent.args[1], variable),),
        )


def _refused(logs: Logs) -> Iterator[_Refused]:
    since = judged_since(logs)
    for log in service_logs(logs):
        for entry in log.entries:
            if "checking failed - " not in entry.text or is_of_earlier_worker(entry, since, logs):
                continue
            # Django's own format has no time, so its lines are read as continuations of the entry before them.
            for line in entry.text.splitlines():
                if (match := _FOREIGN.search(line)) is not None:
                    yield _Refused(log.path, line.strip(), match[1], match[2] or "")


CHECKS = (trusted_origins,)
