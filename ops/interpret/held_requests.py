"""Recognize routes whose requests the service holds open on purpose: long polls, event streams, WebSockets. Their
clients leave whenever their page does. Pure.

Sources: RFC 6202 (long polling, streaming), HTML Living Standard (Server-sent events), RFC 6455 (WebSocket), nginx
documentation, WebSocket proxying and ngx_http_proxy_module (proxy_buffering)."""

from __future__ import annotations

import re

from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Location
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic

# Names that libraries and their guides give to such routes.
_HELD = re.compile(
    r"(?:long)?poll(?:s|ing|er)?|comet|stream(?:s|ing)?|sse|events?|eventsource|subscri(?:be|ption|ptions)|pubsub"
    r"|listen|watch|wait|updates|notifications?|ws|wss|websockets?|sockets?|sockjs|signalr|cable|mqtt|live|livereload"
    r"|hmr"
)
_WORD = re.compile(r"[A-Za-z]+")
_SWITCHED = "101"


def is_held_open(
    left: Answers, located: LocatedTraffic, target: Target, config: NginxConfig | NotSeen
) -> bool:
    """Whether requests like ``left`` are held open on purpose, by the route's name, by other answers of the same
    route, or because nginx has a location of its own for such requests. The prediction's route never is."""
    if left.path == target.predict_path:
        return False
    if left.method == "GET" and any(_HELD.fullmatch(word.lower()) for word in _WORD.findall(left.path)):
        return True
    if any(item.path == left.path and item.status == _SWITCHED for item in located.traffic.answers):
        return True
    return not isinstance(config, NotSeen) and _has_own_location(left.path, target, config)


def _has_own_location(path: str, target: Target, config: NginxConfig) -> bool:
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(path) if site else None
    if site is None or location is None or location == site.server.location_for(target.predict_path):
        return False
    return _is_for_held_requests(location)


def _is_for_held_requests(location: Location) -> bool:
    return any(
        (d.name == "proxy_buffering" and d.args == ("off",))
        or (d.name == "proxy_set_header" and d.args[:1] and d.args[0].lower() == "upgrade")
        for d in location.blocks[0].block or ()
    )
