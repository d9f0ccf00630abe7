"""Deployment files for one host, made from the examples under ``deploy/``.

The examples are the one source: each loads as it stands, for gte-api.example.com with the deployment guide's paths.
A host's own values replace the example's, literally and in one pass. An engine of templates or a rebuild from a parse
tree would cost the file its readability or its comments; the price here is a table of what may be replaced, and each
entry must be met in the example, so the two cannot drift apart unnoticed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import resources

from ops.errors import UsageError

# Installed under /etc/nginx (or beside whichever nginx.conf is in use) by these names.
NGINX_FILES = ("conf.d/gte-api.conf", "snippets/gte-api-errors.conf")

# What nginx would not read as one plain word (nginx.org/en/docs/beginners_guide.html#conf_structure).
_NOT_A_PLAIN_WORD = re.compile(r"""[\s;{}"'$\\#]|^$""")


@dataclass(frozen=True, kw_only=True)
class NginxSite:
    """One site's values, the defaults being the example's own.

    ``http`` and ``https`` are what ``listen`` takes: a port or address:port. ``public_url`` is where plain HTTP is
    redirected to, without a slash at the end; ``backend`` is host:port or unix:/path. Sizes and times are nginx's
    (``1m``, ``120s``); ``rate`` is requests as limit_req_zone takes them, ``burst`` a count.
    """

    domain: str = "gte-api.example.com"
    http: str = "80"
    https: str = "443"
    public_url: str = "https://gte-api.example.com"
    backend: str = "127.0.0.1:8000"
    certificate: str = "/etc/letsencrypt/live/gte-api.example.com/fullchain.pem"
    private_key: str = "/etc/letsencrypt/live/gte-api.example.com/privkey.pem"
    access_log: str = "/var/log/nginx/gte-access.log"
    error_log: str = "/var/log/nginx/gte-error.log"
    challenge_root: str = "/var/www/letsencrypt"
    max_body: str = "1m"
    read_timeout: str = "120s"
    rate: str = "60r/m"
    burst: str = "20"


# The example's text around each value, {} standing for the value. The order matters where one text begins with
# another: the longer first.
_PLACES = {
    "certificate": "{}",
    "private_key": "{}",
    "access_log": "{}",
    "error_log": "{}",
    "challenge_root": "{}",
    "public_url": "{}",
    "http": "listen {};",
    "https": "listen {} ssl;",
    "backend": "server {};",
    "max_body": "client_max_body_size  {};",
    "read_timeout": "proxy_read_timeout    {};",
    "rate": "rate={};",
    "burst": "burst={} ",
    "domain": "{}",
}


def render_nginx(site: NginxSite) -> dict[str, str]:
    """The site's nginx files: their path below nginx's directory, and their text.

    Raises UsageError for a value that nginx would not read as one word: it could end the directive and begin another.
    """
    example = NginxSite()
    replacements: dict[str, str] = {}
    for field in fields(NginxSite):
        value = getattr(site, field.name)
        if _NOT_A_PLAIN_WORD.search(value):
            raise UsageError(
                f"nginx {field.name}: {value!r} has characters that nginx's syntax gives a meaning; use plain ones"
            )
    for name, place in _PLACES.items():
        replacements[place.format(getattr(example, name))] = place.format(getattr(site, name))
    pattern = re.compile("|".join(map(re.escape, replacements)))
    return {
        path: pattern.sub(lambda match: replacements[match.group()], nginx_example(path))
        for path in NGINX_FILES
    }


def nginx_example(path: str) -> str:
    """The text of one of NGINX_FILES as it lies in ``deploy/nginx``."""
    return resources.files("ops").joinpath("deploy", "nginx", path).read_text(encoding="utf-8")
