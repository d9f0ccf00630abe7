"""Explain redirects that leave HTTPS: the service takes a request that came over HTTPS for plain HTTP, because the
scheme does not reach it or because its server does not believe who sends it.

Sources: gunicorn documentation, forwarded_allow_ips and secure_scheme_headers; uvicorn documentation, deployment
(--proxy-headers, --forwarded-allow-ips); Django documentation, SECURE_PROXY_SSL_HEADER; Werkzeug's ProxyFix."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ops.diagnosis.finding import Evidence, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret.address import is_loopback, split_address
from ops.interpret.sent_header import how_to_send, sent_header
from ops.text.language import Text

_HEADER = "X-Forwarded-Proto"
_SETTING = "forwarded_allow_ips"


class LostScheme(NamedTuple):
    """Why the service does not know that a request came over HTTPS: what was seen, and the steps against it."""

    evidence: tuple[Evidence, ...]
    steps: tuple[str | Text, ...]


def leaves_https(location: str, target: Target) -> bool:
    """Whether a redirect leads from the site's HTTPS to plain HTTP of the same name."""
    onward = urlsplit(location)
    return (
        target.url.startswith("https:")
        and onward.scheme == "http"
        and (onward.hostname or "") == target.domain.lower()
    )


def lost_scheme(
    target: Target, path: str, config: NginxConfig | NotSeen, gunicorn: Gunicorn | NotSeen
) -> LostScheme:
    """Return why the service does not know the scheme of requests for ``path``: nginx does not send it, or the server
    does not believe it."""
    header = None if isinstance(config, NotSeen) else sent_header(config, target, path, _HEADER)
    if header is not None and header.sent is None:
        line = f"proxy_set_header {_HEADER} $scheme;"
        return LostScheme(
            (Evidence(header.where, Text(en=f"no {_HEADER} for {path}", zh=f"{path} 没有传入 {_HEADER}")),),
            (
                how_to_send(header, line),
                put_before_line(header.where, line),
                target.test_nginx,
                target.reload_nginx,
            ),
        )
    sent = (
        (quote(header.sent.where, f"proxy_set_header {' '.join(header.sent.args)}"),)
        if header is not None and header.sent is not None
        else ()
    )
    proxy = _nginx_s_address(target.backend)
    own = None if isinstance(gunicorn, NotSeen) else gunicorn.config
    assigned = own.assigned.get(_SETTING) if isinstance(own, GunicornConfig) else None
    if isinstance(own, GunicornConfig) and assigned is not None and isinstance(assigned.value, str):
        place = f"{own.path}:{assigned.line}"
        return LostScheme(
            (*sent, quote(place, f"{_SETTING} = {assigned.value!r}")),
            (
                Text(
                    en=f"The server believes {_HEADER} from {assigned.value} alone, and nginx connects from {proxy}:"
                    f" name that in {_SETTING} at {place}",
                    zh=f"后端只信任来自 {assigned.value} 的 {_HEADER}，而 nginx 从 {proxy} 连接："
                    f"在 {place} 的 {_SETTING} 里写上它",
                ),
                replaced_in_line(place, assigned.value, proxy),
                target.restart_command,
            ),
        )
    return LostScheme(
        sent,
        (
            Text(
                en=f'Have the server believe {_HEADER} from nginx: {_SETTING} = "{proxy}" in gunicorn\'s configuration,'
                f" --proxy-headers --forwarded-allow-ips={proxy} for uvicorn by itself; if the framework reads the"
                " header, Django's SECURE_PROXY_SSL_HEADER or Werkzeug's ProxyFix(x_proto=1)",
                zh=f'让后端信任 nginx 传来的 {_HEADER}：gunicorn 配置里写 {_SETTING} = "{proxy}"；'
                f"单独运行的 uvicorn 加 --proxy-headers --forwarded-allow-ips={proxy}；"
                "如果由框架读取该请求头，则设置 Django 的 SECURE_PROXY_SSL_HEADER，或 Werkzeug 的 ProxyFix(x_proto=1)",
            ),
            target.restart_command,
        ),
    )


def _nginx_s_address(backend: str) -> str:
    """The address that the service sees nginx connect from; a unix socket has none."""
    if backend.startswith("unix:"):
        return "*"
    host = split_address(backend)[0]
    if is_loopback(host):
        return "::1" if ":" in host else "127.0.0.1"
    return host
