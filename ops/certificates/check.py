"""`gte-ops cert check`: settings --> inventory --> review --> report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ops.errors import UsageError
from ops.facts.certificate_inventory import Endpoint, Review
from ops.interpret.address import is_port, join_address
from ops.settings import Settings, is_host
from ops.text.language import Text
from ops.text.reasons import chinese

STARTTLS = {"smtp": 25, "imap": 143, "pop3": 110}
HTTPS_PORT = 443
_FORM = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<rest>[^/\s]+)/?")


def check(
    settings: Settings,
    places: Sequence[str],
    starttls: str | None,
    *,
    timeout: float,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Review:
    """Judge every certificate found on this host, or those of the endpoints in ``places`` (``HOST[:PORT]``) alone.

    ``starttls``: the protocol before TLS; ``timeout``: seconds to wait for one endpoint. Raises UsageError for an
    invalid endpoint or protocol."""
    endpoints = [endpoint(place, starttls, "command line") for place in places]
    configured = [endpoint(place, None, "gte-ops.toml") for place in settings.tls.endpoints]

    from ops.certificates.assess import review
    from ops.collect.services.certificate_inventory import take_inventory

    inventory = take_inventory(
        settings, endpoints or configured, everything=not endpoints, timeout=timeout, progress=progress
    )
    return review(inventory)


def endpoint(text: str, starttls: str | None, origin: str) -> Endpoint:
    """``HOST[:PORT]``, ``[V6]:PORT``, or with the protocol before it: ``smtp://HOST``, ``https://HOST``.

    Raises UsageError that names the supported ones."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            Text(
                en=f"{origin}: {text!r} is no endpoint; write HOST, HOST:PORT or smtp://HOST",
                zh=f"{chinese(origin)}：{text!r} 不是有效的端点；写法：HOST、HOST:PORT 或 smtp://HOST",
            )
        )
    scheme = (match["scheme"] or "").lower()
    if scheme and scheme not in (*STARTTLS, "https", "tls"):
        raise UsageError(
            Text(
                en=f"{origin}: {scheme}:// is not supported; supported: https, {', '.join(STARTTLS)}",
                zh=f"{chinese(origin)}：不支持 {scheme}://；支持 https、{'、'.join(STARTTLS)}",
            )
        )
    protocol = scheme if scheme in STARTTLS else starttls
    if protocol is not None and protocol not in STARTTLS:
        raise UsageError(
            Text(
                en=f"--starttls {protocol} is not supported; supported: {', '.join(STARTTLS)}",
                zh=f"不支持 --starttls {protocol}；支持 {'、'.join(STARTTLS)}",
            )
        )
    host, port = _host_and_port(match["rest"], STARTTLS.get(protocol or "", HTTPS_PORT))
    if not is_host(host) or not 0 < port < 65536:
        raise UsageError(
            Text(
                en=f"{origin}: {text!r} names no host or no port; write HOST or HOST:PORT",
                zh=f"{chinese(origin)}：{text!r} 缺少主机或端口；写法：HOST 或 HOST:PORT",
            )
        )
    return Endpoint(
        address=join_address(host, port), name=host, expected=True, origin=origin, starttls=protocol
    )


def _host_and_port(rest: str, default: int) -> tuple[str, int]:
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not (tail[0] == ":" and is_port(tail[1:]))):
            return host, 0
        return host, int(tail[1:]) if tail else default
    if rest.count(":") > 1:
        return rest, default
    host, colon, port = rest.partition(":")
    if not colon:
        return host, default
    return host, int(port) if is_port(port) else 0
