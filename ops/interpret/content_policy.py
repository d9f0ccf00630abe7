"""What a Content-Security-Policy lets a page load. Pure; in doubt it lets everything.

Source: W3C Content Security Policy Level 3 (fallbacks of directives, matching of sources)."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from ops.facts.nginx import Directive
from ops.interpret.nginx import name_matches

HEADER = "content-security-policy"
_FALLBACKS = {
    "script": ("script-src-elem", "script-src", "default-src"),
    "style": ("style-src-elem", "style-src", "default-src"),
}
# Of these depends what one page's own element has.
_BY_ELEMENT = re.compile(r"'(?:nonce|sha(?:256|384|512))-|'strict-dynamic'|'unsafe-hashes'|\$")
_SOURCE = re.compile(r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|[a-z0-9*.-]+)(?P<rest>[:/].*)?")


def is_policy(line: Directive) -> bool:
    """Whether a line of nginx's configuration adds a policy that browsers enforce."""
    return len(line.args) > 1 and line.args[0].lower() == HEADER


def forbidding_part(policy: str, kind: str, origin: str, names: Collection[str]) -> str | None:
    """Return the policy's part that forbids a page of one of ``names`` (server_name) to load a ``kind`` (script,
    style) from ``origin``, or, if that is empty, what is written in the page itself; None if nothing does, or that is
    not certain."""
    parts: dict[str, list[str]] = {}
    for part in policy.split(";"):
        words = part.split()
        if words:
            parts.setdefault(words[0].lower(), words[1:])
    for directive in _FALLBACKS[kind]:
        if directive not in parts:
            continue
        sources = parts[directive]
        if any(_BY_ELEMENT.match(word.lower()) or "$" in word for word in sources):
            return None
        allowed = (
            any(_allows(word.lower(), origin.lower(), names) for word in sources)
            if origin
            else "'unsafe-inline'" in map(str.lower, sources)
        )
        return None if allowed else " ".join((directive, *sources))
    return None


def _allows(source: str, origin: str, names: Collection[str]) -> bool:
    address = urlsplit(origin)
    host = (address.hostname or "").lower()
    if source == "'self'":
        return any(name_matches(pattern, host) for pattern in names)
    # http: takes https as well (6.7.2.8, scheme-part match).
    if source in ("*", "http:", f"{address.scheme}:"):
        return True
    match = _SOURCE.fullmatch(source)
    if match is None or (match["scheme"] and match["scheme"] not in (address.scheme, "http")):
        return False
    pattern = match["host"]
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
