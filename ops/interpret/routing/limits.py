"""The limits and time-outs in force for a request, with nginx's defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.interpret.nginx import Scope
from ops.interpret.routing.model import Limit

# nginx documentation: ngx_http_core_module; for _SENT_ON, each module that sends requests on (proxy, fastcgi, ...).
_DEFAULTS = (
    ("client_max_body_size", "1m"),
    ("client_body_buffer_size", "16k"),
    ("client_body_timeout", "60s"),
    ("client_header_buffer_size", "1k"),
    ("large_client_header_buffers", "4 8k"),
    ("client_header_timeout", "60s"),
    ("send_timeout", "60s"),
    ("keepalive_timeout", "75s"),
)
_SENT_ON = (("connect_timeout", "60s"), ("send_timeout", "60s"), ("read_timeout", "60s"))
_PREFIXES = {
    "proxy_pass": "proxy",
    "fastcgi_pass": "fastcgi",
    "uwsgi_pass": "uwsgi",
    "scgi_pass": "scgi",
    "grpc_pass": "grpc",
    "memcached_pass": "memcached",
}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def limits(scope: Scope, handler: str | None) -> tuple[Limit, ...]:
    """Return every limit in force in ``scope``. ``handler``: the directive that sends the request on, None without."""
    return tuple(_limits(scope, handler))


def _limits(scope: Scope, handler: str | None) -> Iterator[Limit]:
    names = list(_DEFAULTS)
    if handler in _PREFIXES:
        names += [(f"{_PREFIXES[handler]}_{name}", value) for name, value in _SENT_ON]
    for name, default in names:
        directives = [d for d in scope.effective(name) if d.args]
        if directives:
            yield Limit(name, " ".join(directives[-1].args), directives[-1].where)
        else:
            yield Limit(name, default, "")
    for name in ("limit_req", "limit_conn", "limit_rate"):
        for directive in scope.effective(name):
            yield Limit(name, " ".join(directive.args), directive.where)


def size(text: str) -> int | None:
    """Return nginx's size (``10m``, ``8k``, ``0``) in bytes; None if it is not a size."""
    match = re.fullmatch(r"(\d{1,12})([kmg]?)", text.lower())
    return int(match[1]) * _UNITS[match[2]] if match else None
