"""Find the header that a refused request lost on its way to the application: nginx emptied, dropped or did not pass it
on, or gunicorn dropped it.

Sources: nginx documentation, ngx_http_proxy_module (proxy_set_header, proxy_pass_request_headers), ngx_http_core_module
(underscores_in_headers), WebSocket proxying; gunicorn documentation, header_map and forwarder_headers."""

from __future__ import annotations

import re
from typing import NamedTuple

from ops.diagnosis.finding import Evidence, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line, replaced_statement
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Process
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange
from ops.facts.target import Target
from ops.facts.traffic import WebSocketRoute
from ops.interpret.gunicorn import arguments, setting, worker_class
from ops.interpret.nginx import Location, every
from ops.interpret.sent_header import sent_header
from ops.interpret.site import find_site
from ops.text.language import Text

# Headers by which a client says who it is.
_CREDENTIAL = re.compile(r"authorization|(?:x-)?(?:api|access|auth)-?(?:key|token)|x-token", re.IGNORECASE)
# Names of what a proxy says about the user; an underscore stands for any separator.
_IDENTITY = re.compile(
    r"user|auth|token|key|secret|role|group|account|tenant|cert|verify|email|identity|principal|subject|remote|script",
    re.IGNORECASE,
)
# The worker classes that read requests with gunicorn's own parser for WSGI.
_WSGI_WORKERS = (None, "sync", "gthread", "gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet")
_DROPS_SINCE = 22  # gunicorn documentation, header_map: versionadded 22.0.0


class LostHeader(NamedTuple):
    """A header that does not arrive: its name, why, what was seen, and the steps against it."""

    name: str
    words: Text
    evidence: tuple[Evidence, ...]
    steps: tuple[str | Text, ...]
    kind: str


class ProxiedService(NamedTuple):
    """What is known of the server behind nginx: its master, its configuration, gunicorn's version ("" if unknown)."""

    master: Process | None
    gunicorn: Gunicorn | NotSeen
    version: str


def lost_header(
    config: NginxConfig,
    target: Target,
    path: str,
    refused: Exchange | None,
    service: ProxiedService,
    ignored: str | None = None,
) -> LostHeader | None:
    """Return the header that requests for ``path`` lose. ``refused``: the service's own refusal, if it was seen;
    ``ignored``: a header of theirs that nginx logged as invalid."""
    location = location_of(config, target, path)
    if location is None:
        return None
    return (
        _none_passed(location, target)
        or _replaced(location, target, refused)
        or _dropped_by_nginx(config, location, target, refused, ignored)
        or _dropped_by_gunicorn(location, target, service)
    )


def location_of(config: NginxConfig, target: Target, path: str) -> Location | None:
    """Return the location of the site that proxies ``path``; None if none does."""
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(path) if site else None
    return location if location is not None and location.effective("proxy_pass") else None


def _written(directive: Directive) -> str:
    value = directive.args[1] if len(directive.args) > 1 else ""
    return f"{directive.name} {directive.args[0]} {value if value else chr(34) * 2};"


def _none_passed(location: Location, target: Target) -> LostHeader | None:
    directives = location.effective("proxy_pass_request_headers")
    if not directives or directives[-1].args[:1] != ("off",):
        return None
    place = directives[-1].where
    return LostHeader(
        "*",
        Text(
            en=f"nginx passes no header of the client on ({place})",
            zh=f"nginx 不传客户端的任何请求头（{place}）",
        ),
        (quote(place, "proxy_pass_request_headers off;"),),
        (
            replaced_statement(place, "proxy_pass_request_headers", "proxy_pass_request_headers on;"),
            target.test_nginx,
            target.reload_nginx,
        ),
        "not passed",
    )


def _replaced(location: Location, target: Target, refused: Exchange | None) -> LostHeader | None:
    """A credential of the client that nginx empties, or replaces by one of its own."""
    own = {name.lower() for name in refused.private_headers} if refused is not None else set()
    challenge = refused.header("www-authenticate").lower() if refused is not None else ""
    for directive in location.effective("proxy_set_header"):
        if len(directive.args) != 2:
            continue
        name, value = directive.args
        is_credential = _CREDENTIAL.fullmatch(name) is not None or name.lower() in own
        if not is_credential or value.lower() == f"$http_{name.lower().replace('-', '_')}":
            continue
        # A service that asks with WWW-Authenticate wants Authorization (RFC 9110, 11.6.2).
        if challenge.startswith(("bearer", "basic", "digest")) and name.lower() != "authorization":
            continue
        place = directive.where
        does = (
            Text(en=f"nginx empties it ({place})", zh=f"nginx 把它清空了（{place}）")
            if not value
            else Text(en=f"nginx replaces it ({place})", zh=f"nginx 用别的值替换了它（{place}）")
        )
        return LostHeader(
            name,
            does,
            (quote(place, _written(directive)),),
            (
                replaced_statement(place, f"proxy_set_header {directive.args[0]}", ""),
                target.test_nginx,
                target.reload_nginx,
            ),
            "replaced",
        )
    return None


def _dropped_by_nginx(
    config: NginxConfig, location: Location, target: Target, refused: Exchange | None, ignored: str | None
) -> LostHeader | None:
    """A header whose name has an underscore, of the settings' own or logged by nginx: nginx ignores it unless told
    otherwise."""
    name = next((name for name in (refused.private_headers if refused else ()) if "_" in name), ignored)
    if name is None or any(d.args[:1] == ("on",) for d in every(config, "underscores_in_headers")):
        return None
    server = location.blocks[-2] if len(location.blocks) > 1 else location.blocks[0]
    site = find_site(config, target.domain, target.backend)
    place = site.server.where if site else server.where
    hyphenated = name.replace("_", "-")
    return LostHeader(
        name,
        Text(
            en="nginx ignores headers of clients with an underscore in their name (underscores_in_headers off)",
            zh="nginx 忽略客户端名字里带下划线的请求头（underscores_in_headers off）",
        ),
        (Evidence(place, Text(en="no underscores_in_headers on", zh="没有 underscores_in_headers on")),),
        (
            Text(
                en=f"Have clients send {hyphenated}, or in the server block at {place} write underscores_in_headers on;"
                " (in the default server of that address as well)",
                zh=f"让客户端改用 {hyphenated}，或在 {place} 的 server 块里写 underscores_in_headers on;"
                "（该地址的默认 server 里也要写）",
            ),
            target.test_nginx,
            target.reload_nginx,
        ),
        "dropped by nginx",
    )


def _dropped_by_gunicorn(location: Location, target: Target, service: ProxiedService) -> LostHeader | None:
    """A header with an underscore in its name that nginx sets: gunicorn drops what it cannot map unambiguously."""
    own = None if isinstance(service.gunicorn, NotSeen) else service.gunicorn.config
    major = service.version.partition(".")[0]
    if (
        service.master is None
        or (major.isdecimal() and int(major) < _DROPS_SINCE)
        or worker_class(service.master, own) not in _WSGI_WORKERS
    ):
        return None
    command = arguments(service.master)
    if str(setting("header_map", "header-map", command, own) or "drop").strip().lower() == "dangerous":
        return None
    passed = str(setting("forwarder_headers", "forwarder-headers", command, own) or "SCRIPT_NAME,PATH_INFO")
    for directive in location.effective("proxy_set_header"):
        name = directive.args[0] if len(directive.args) == 2 else ""
        if "_" not in name or not directive.args[1] or not _IDENTITY.search(name):
            continue
        if name.upper() in (word.strip().upper() for word in passed.split(",")):
            continue
        place, hyphenated = directive.where, name.replace("_", "-")
        return LostHeader(
            name,
            Text(
                en=f"gunicorn drops headers with an underscore in their name (header_map); nginx sets it at {place}",
                zh=f"gunicorn 丢弃名字里带下划线的请求头（header_map），而 nginx 在 {place} 这样设置",
            ),
            (quote(place, f"proxy_set_header {name} ..."),),
            (
                Text(
                    en=f"Call it {hyphenated}: the application sees HTTP_{name.upper()}, as before. Or, if it must"
                    f" arrive as {name.upper()}, set forwarder_headers ({{forwarder_headers_place}}) to"
                    f' "SCRIPT_NAME,PATH_INFO,{name.upper()}"',
                    zh=f"改名为 {hyphenated}：应用看到的仍是 HTTP_{name.upper()}。如果必须以 {name.upper()} 传入，"
                    f'把 forwarder_headers（{{forwarder_headers_place}}）设为 "SCRIPT_NAME,PATH_INFO,{name.upper()}"',
                ),
                replaced_in_line(place, name, hyphenated),
                target.test_nginx,
                target.reload_nginx,
            ),
            "dropped by gunicorn",
        )
    return None


# --- WebSocket -------------------------------------------------------------------------------------------------------

_UPGRADE = "proxy_set_header Upgrade $http_upgrade;"


def lost_upgrade(config: NginxConfig, target: Target, path: str, route: WebSocketRoute) -> LostHeader | None:
    """Return why a WebSocket's handshake for ``path`` arrives as a plain request; None if nginx passes it on."""
    location = location_of(config, target, path)
    upgrade = sent_header(config, target, path, "Upgrade")
    if location is None or upgrade is None:
        return None
    connection = sent_header(config, target, path, "Connection")
    sent = connection.sent if connection is not None else None
    value = sent.args[1] if sent is not None and len(sent.args) == 2 else "close"
    keeps_upgrade = value.lower() == "upgrade" or value.startswith("$")
    version = location.effective("proxy_http_version")
    is_old = not version or version[-1].args[:1] == ("1.0",)
    if upgrade.sent is not None and keeps_upgrade and not is_old:
        return None
    passed = location.effective("proxy_pass")[-1]
    evidence = [
        quote(route.where, route.written),
        quote(passed.where, f"proxy_pass {' '.join(passed.args)};"),
    ]
    steps: list[str | Text] = []
    if sent is not None and not keeps_upgrade:
        evidence.append(quote(sent.where, _written(sent)))
        steps.append(replaced_statement(sent.where, "proxy_set_header Connection", _CONNECTION))
    lines = [
        *([_UPGRADE] if upgrade.sent is None else []),
        *([_CONNECTION] if sent is None else []),
        *(["proxy_http_version 1.1;"] if is_old and not version else []),
    ]
    if is_old and version:
        steps.append(replaced_in_line(version[-1].where, "1.0", "1.1"))
    # An added line must not change the numbers of lines that a later command edits.
    steps += [put_before_line(upgrade.where, " ".join(lines))] if lines else []
    if not any(d.args[-1:] == ("$connection_upgrade",) for d in every(config, "map")):
        steps.insert(
            0,
            Text(
                en=f"In the http block of {target.nginx_config_file} write: {_MAP}",
                zh=f"在 {target.nginx_config_file} 的 http 块里写：{_MAP}",
            ),
        )
    return LostHeader(
        "Upgrade",
        Text(
            en=f"nginx does not pass Upgrade on for {path}, so the handshake of a WebSocket arrives as a plain request",
            zh=f"nginx 没有为 {path} 传递 Upgrade，WebSocket 握手到后端成了普通请求",
        ),
        tuple(evidence),
        (*steps, target.test_nginx, target.reload_nginx),
        "upgrade",
    )


_CONNECTION = "proxy_set_header Connection $connection_upgrade;"
_MAP = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"
