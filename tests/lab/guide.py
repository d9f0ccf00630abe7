"""A host set up by the deployment guide: its nginx site and its gunicorn configuration, for the lab's ports.

Each of the guide's own traps is off until it is named, so that a case shows one fault at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from ops.deployment.render import NginxSite

Trap = Literal[
    "limit_req_zone in server",  # nginx refuses to load the file
    "health answered by nginx",  # monitoring stays green while the backend is dead
    "user agent filter",  # 403 for curl and python-requests
    "limit_req answers 503",  # a rate limit looks like an overload
    "connection upgrade",  # the upstream's keepalive is defeated
    "preload",  # gunicorn ignores the name; the setting is preload_app
    "bind_ssl",  # the same
]
TRAPS: tuple[str, ...] = get_args(Trap)


def guide_site(site: NginxSite, traps: Collection[Trap] = ()) -> str:
    """The guide's /etc/nginx/conf.d/gte-api.conf for ``site``."""
    _check(traps)
    zone = f"limit_req_zone $binary_remote_addr zone=gte_api:10m rate={site.rate};"
    in_server = "limit_req_zone in server" in traps
    upgrade = "connection upgrade" in traps
    lines = [
        *([] if in_server else [zone]),
        "upstream gte_backend {",
        f"    server {site.backend};",
        "    keepalive 32;",
        "}",
        "server {",
        f"    listen {site.http};",
        f"    server_name {site.domain};",
        f"    return 301 {site.public_url}$request_uri;",
        "}",
        "server {",
        f"    listen {site.https} ssl;",
        f"    server_name {site.domain};",
        f"    ssl_certificate {site.certificate};",
        f"    ssl_certificate_key {site.private_key};",
        "    ssl_protocols TLSv1.2 TLSv1.3;",
        "    ssl_session_cache shared:SSL:10m;",
        f"    access_log {site.access_log};",
        f"    error_log {site.error_log};",
        *([f"    {zone}"] if in_server else []),
    ]
    if "user agent filter" in traps:
        lines += [
            "    if ($http_user_agent ~* (sqlmap|nikto|wget|curl|httpie|python-requests)) { return 403; }",
        ]
    lines += [
        "    location / {",
        f"        limit_req zone=gte_api burst={site.burst} nodelay;",
        *([] if "limit_req answers 503" in traps else ["        limit_req_status 429;"]),
        f"        proxy_pass http://{'gte_backend'};",
        "        proxy_http_version 1.1;",
        *(["        proxy_set_header Upgrade $http_upgrade;"] if upgrade else []),
        f'        proxy_set_header Connection "{"upgrade" if upgrade else ""}";',
        "        proxy_set_header Host $host;",
        "        proxy_set_header X-Real-IP $remote_addr;",
        "        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "        proxy_set_header X-Forwarded-Proto $scheme;",
        "        proxy_connect_timeout 30s;",
        "        proxy_send_timeout 30s;",
        f"        proxy_read_timeout {site.read_timeout};",
        f"        client_max_body_size {site.max_body};",
        "    }",
    ]
    if "health answered by nginx" in traps:
        lines += [
            "    location /health {",
            '        return 200 "OK";',
            "        add_header Content-Type text/plain;",
            "    }",
        ]
    return "\n".join([*lines, "}", ""])


def guide_gunicorn_conf(traps: Collection[Trap] = ()) -> str:
    """What the guide's gunicorn.conf.py says beside addresses, files and numbers of workers."""
    _check(traps)
    return "\n".join(
        [
            "worker_connections = 1000",
            "keepalive = 5",
            "max_requests = 1000",
            "max_requests_jitter = 100",
            "daemon = True",
            'loglevel = "info"',
            "capture_output = True",
            "enable_stdio_inheritance = True",
            *(["bind_ssl = None"] if "bind_ssl" in traps else []),
            *(["preload = True"] if "preload" in traps else []),
            "",
        ]
    )


def _check(traps: Collection[str]) -> None:
    unknown = sorted(set(traps) - set(TRAPS))
    if unknown:
        raise ValueError(f"no such trap: {', '.join(unknown)}; there are: {', '.join(TRAPS)}")
