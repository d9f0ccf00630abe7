"""Requests to this host go to it directly, whatever proxies the environment names.

A webhook's URL is a password. For a relay on this host, ``http_proxy``, ``https_proxy`` and ``all_proxy`` would have it
sent to another one, in the clear; ``no_proxy`` is a list of suffixes that somebody has to keep, and Requests does not
consult it again after a redirect. Every other destination keeps the environment's proxies.

service/client/ stands alone and has the same rule: tests/unit/notifications/test_proxy_bypass.py holds both to one
table.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
import threading
import urllib.request
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

# For a resolver that does not answer: behind a proxy there may be none for the names of other networks.
RESOLVE_S = 2.0
# RFC 1112, 4 and RFC 6666: no host has these addresses. If binding to them succeeds, binding to any address does
# (sysctl ip_nonlocal_bind).
_OWNED_BY_NOBODY = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}
_ANY_PORT = 9


def is_this_host(host: str) -> bool:
    """Whether ``host``, a URL's, is this host: loopback, the unspecified address, or an address of an interface here.

    Names are resolved, within RESOLVE_S; a name that does not resolve counts as another host's.
    """
    name = unquote(host).strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3: regardless of the resolver
        return True
    return bool(name) and any(_is_own(*place) for place in _resolve(name))


def install() -> None:
    """Make Requests and urllib, in this process, connect to this host without a proxy, and follow no redirect from this
    host to another or the reverse: the message and its token go nowhere else."""
    import requests
    from requests.adapters import HTTPAdapter
    from requests.utils import select_proxy

    send = HTTPAdapter.send
    get_redirect_target = requests.Session.get_redirect_target
    proxy_bypass = urllib.request.proxy_bypass

    # The last step before the connection, also for redirects; the proxies have been chosen by then.
    @functools.wraps(send)
    def send_direct(
        self: HTTPAdapter,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        if select_proxy(request.url or "", proxies) and is_this_host(_host(request.url)):
            proxies = None
        return send(self, request, stream, timeout, verify, cert, proxies)

    @functools.wraps(get_redirect_target)
    def redirect_target_on_the_same_side(self: requests.Session, resp: requests.Response) -> str | None:
        target = get_redirect_target(self, resp)
        if target is None:
            return None
        stays = is_this_host(_host(resp.url)) == is_this_host(_host(urljoin(resp.url, target)))
        return target if stays else None

    @functools.wraps(proxy_bypass)
    def bypass(host: str) -> Any:
        return is_this_host(_host(f"//{host}")) or proxy_bypass(host)

    replace: Any = setattr
    replace(HTTPAdapter, "send", send_direct)
    replace(requests.Session, "get_redirect_target", redirect_target_on_the_same_side)
    replace(urllib.request, "proxy_bypass", bypass)


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:
        return ""


def _resolve(name: str) -> list[tuple[int, Any]]:
    """Families and socket addresses of ``name``, inet_aton's spellings of an address (``127.1``, ``0x7f000001``)
    included; empty if it has none."""
    with contextlib.suppress(OSError, ValueError):
        return _look_up(name, socket.AI_NUMERICHOST)
    addresses: list[tuple[int, Any]] = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            addresses.extend(_look_up(name, 0))

    # getaddrinfo(3) has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(RESOLVE_S)
    return list(addresses)


def _look_up(name: str, flags: int) -> list[tuple[int, Any]]:
    answers = socket.getaddrinfo(name, _ANY_PORT, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, place) for family, _, _, _, place in answers]


def _is_own(family: int, place: Any) -> bool:
    """Whether a socket address is this host's."""
    address = ipaddress.ip_address(str(place[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
        family, place = socket.AF_INET, (str(address), _ANY_PORT)
    if address.is_loopback or address.is_unspecified:
        return True
    nobody = _OWNED_BY_NOBODY.get(socket.AddressFamily(family))
    if nobody is None or address.is_multicast:
        return False
    if not _can_bind(family, (nobody, 0)):
        return _can_bind(family, (place[0], 0, *place[2:]))
    # connect(2) of a datagram socket sends nothing: to an address of this host the kernel answers from that address.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0]).partition("%")[0] == str(address)
    return False


def _can_bind(family: int, place: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True
