"""A snapshot made fit to leave its host: without credentials, query strings and, on request, clients' addresses.

Private keys never enter a snapshot; here goes what a log, a command line or a configuration may hold beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import msgspec

from ops.quoting import HIDDEN, without_secrets
from ops.snapshot import Host, Snapshot

# The query of a request line, of a logged URL, or of a header: all between '?' and the next blank, quote or bracket.
_QUERY = re.compile(r"(?<=[\w/.%~:+@-])\?[^\s\"'<>|)]+")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w.])"
)
# Names of headers, options and variables whose value is a credential.
_SENSITIVE = re.compile(
    r"(?i)^-{0,2}(?:.*[_-])?(authorization|cookie|password|passwd|secret|token|api[_-]?key|auth[_-]?key)$"
)
# Sections whose words come from requests; elsewhere a '?' is a pattern of nginx's or a placeholder.
_FROM_REQUESTS = ("logs", "front", "backend", "upstreams")


def redacted(snapshot: Snapshot, *, hide_clients: bool = False) -> Snapshot:
    """``snapshot`` without secrets; ``hide_clients``: clients' addresses become ``client-1``, ``client-2``, ...

    What is judged keeps its shape, so that the same causes are found in it."""
    plain = msgspec.to_builtins(snapshot)
    known = snapshot.host.addresses if isinstance(snapshot.host, Host) else ()
    hide = _client_hider(known) if hide_clients else None
    for section, value in plain.items():
        plain[section] = _cleaned(value, from_requests=section in _FROM_REQUESTS, hide=hide)
    return msgspec.convert(plain, type=Snapshot)


def _cleaned(value: Any, *, from_requests: bool, hide: Callable[[str], str] | None) -> Any:
    if isinstance(value, str):
        words = without_secrets(value)
        if from_requests:
            words = _QUERY.sub("?" + HIDDEN, words)
            words = hide(words) if hide else words
        return words
    if isinstance(value, list | tuple):
        items = [_cleaned(item, from_requests=from_requests, hide=hide) for item in value]
        # --token VALUE, proxy_set_header Authorization VALUE, ("Set-Cookie", VALUE)
        for before, item in enumerate(items[:-1]):
            if isinstance(item, str) and isinstance(items[before + 1], str) and _SENSITIVE.match(item):
                items[before + 1] = HIDDEN
        return items
    if isinstance(value, dict):
        return {
            key: HIDDEN
            if isinstance(item, str) and _SENSITIVE.match(str(key))
            else _cleaned(item, from_requests=from_requests, hide=hide)
            for key, item in value.items()
        }
    return value


def _client_hider(known: tuple[str, ...]) -> Callable[[str], str]:
    """Replaces every address that is neither loopback nor one of the host's ``known`` ones, the same by the same."""
    names: dict[str, str] = {}

    def name_of(match: re.Match[str]) -> str:
        written = match[0]
        try:
            address = ip_address(written)
        except ValueError:
            return written
        if address.is_loopback or address.is_unspecified or written in known:
            return written
        return names.setdefault(str(address), f"client-{len(names) + 1}")

    return lambda words: _ADDRESS.sub(name_of, words)
