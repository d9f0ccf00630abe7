"""What is this host: its requests never go through a proxy."""

import contextlib
import ipaddress
import socket
import threading
from typing import Any
from urllib.parse import unquote

# A resolver that does not answer: behind a proxy there may be none for the names of other networks.
_RESOLVE_SECONDS = 2.0
# RFC 1112, 4 and RFC 6666: no host has these. If bind() accepts them, it accepts any address (ip_nonlocal_bind).
_OWNED_BY_NOBODY = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}
_ANY_PORT = 9


def is_this_host(host: str) -> bool:
    """Whether ``host``, a URL's, is this host: loopback, the unspecified address, or an address of an interface here.

    Names are resolved, in two seconds at most; a name that does not resolve counts as another host.
    """
    name = unquote(host).strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3: whatever a resolver answers
        return True
    return bool(name) and any(_is_own(*place) for place in _resolve(name))


def _resolve(name: str) -> list[tuple[int, Any]]:
    """Families and socket addresses of ``name``, inet_aton's spellings of an address (``127.1``) included."""
    with contextlib.suppress(OSError, ValueError):
        return _look_up(name, socket.AI_NUMERICHOST)
    addresses: list[tuple[int, Any]] = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            addresses.extend(_look_up(name, 0))

    # getaddrinfo(3) has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_RESOLVE_SECONDS)
    return list(addresses)


def _look_up(name: str, flags: int) -> list[tuple[int, Any]]:
    answers = socket.getaddrinfo(name, _ANY_PORT, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, place) for family, _, _, _, place in answers]


def _is_own(family: int, place: Any) -> bool:
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
    # connect(2) of a datagram socket sends nothing; for an address of this host the kernel chooses the same source
    # address.
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
