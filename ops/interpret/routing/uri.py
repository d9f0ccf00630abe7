"""nginx's decoding, normalising and escaping of URIs (ngx_http_parse.c, ngx_string.c)."""

from __future__ import annotations

import string

_HEX = frozenset(string.hexdigits)
_ESCAPED_ALWAYS = frozenset(map(chr, (*range(0x21), *range(0x7F, 0x100)))) | frozenset('"<>\\^`{|}#%?')
# ngx_escape_uri, NGX_ESCAPE_URI and NGX_ESCAPE_ARGS.
ESCAPED_IN_URI = _ESCAPED_ALWAYS
ESCAPED_IN_ARGUMENTS = _ESCAPED_ALWAYS | frozenset("&+;")


class BadUriError(Exception):
    """nginx answers 400 for this request target."""


def split_target(target: str) -> tuple[str | None, str]:
    """Split a request target into host and rest; the host is None unless it is ``http://host/path`` (RFC 9112, 3.2.2).

    Raises BadUriError."""
    if target.startswith("/"):
        return None, target
    scheme, mark, rest = target.partition("://")
    if not mark or not scheme.isalnum():
        raise BadUriError
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    path = rest[end:]
    return rest[:end], path if path.startswith("/") else f"/{path}"


def normalize(target: str, *, merge_slashes: bool) -> tuple[str, str, bool, bool]:
    """Return path (decoded, dot segments resolved, slashes merged) and arguments of a request target, whether its path
    has escapes, and whether it has a plus sign. Raises BadUriError if nginx answers 400."""
    if any(ch <= " " or ch == "\x7f" for ch in target):
        raise BadUriError
    before, _, _ = target.partition("#")
    path, question, arguments = before.partition("?")
    out: list[str] = []
    # The start of the last segment: "" inside a word, "/" after a slash, "." and ".." after a slash and dots.
    state = ""
    has_plus = "+" in path
    position = 0
    while position < len(path):
        ch, is_literal, position = _decoded(path, position)
        has_plus = has_plus or ch == "+"
        if is_literal:
            out.append(ch)
            state = ""
        else:
            state = _take(out, state, ch, merge_slashes=merge_slashes)
    if state == ".":
        out.pop()
    elif state == "..":
        _up(out)
    return "".join(out), arguments if question else "", "%" in path, has_plus


def _decoded(path: str, position: int) -> tuple[str, bool, int]:
    """Return the next character, whether it is literal, and the position after it."""
    if path[position] != "%":
        return path[position], False, position + 1
    digits = path[position + 1 : position + 3]
    if len(digits) < 2 or not set(digits) <= _HEX:
        raise BadUriError
    ch = chr(int(digits, 16))
    if ch == "\0":
        raise BadUriError
    return ch, ch in "%#?", position + 3


def _take(out: list[str], state: str, ch: str, *, merge_slashes: bool) -> str:
    if ch == "/":
        if state == "/":
            if not merge_slashes:
                out.append(ch)
        elif state == ".":
            out.pop()
        elif state == "..":
            _up(out)
        else:
            out.append(ch)
        return "/"
    out.append(ch)
    if ch == "." and state in ("/", "."):
        return state.strip("/") + "."
    return ""


def _up(out: list[str]) -> None:
    """Remove ``/..`` and the segment before it. Raises BadUriError above the root."""
    del out[-3:]
    while out and out[-1] != "/":
        out.pop()
    if not out:
        raise BadUriError


def escape(words: str, characters: frozenset[str] = ESCAPED_IN_URI) -> str:
    """Return ``words`` with each of ``characters`` as ``%XX``."""
    return "".join(f"%{ord(ch):02X}" if ch in characters else ch for ch in words)


def unescape_redirect(words: str) -> str:
    """Decode a redirect's escapes as ``rewrite`` does: those of plain characters, up to a question mark
    (ngx_unescape_uri, NGX_UNESCAPE_REDIRECT)."""
    out: list[str] = []
    position = 0
    while position < len(words):
        ch = words[position]
        if ch == "?":
            break
        digits = words[position + 1 : position + 3]
        if ch != "%" or not digits or digits[0] not in _HEX:
            if ch == "%" and digits:
                out.append(digits[0])
                position += 2
            else:
                out.extend(() if ch == "%" else ch)
                position += 1
            continue
        position += 3
        if len(digits) < 2 or digits[1] not in _HEX:
            continue
        decoded = chr(int(digits, 16))
        if decoded == "?" and digits[1] in "abcdefABCDEF":
            out.append(decoded)
            break
        out.append(decoded if "%" < decoded < "\x7f" else f"%{digits}")
    return "".join(out) + words[position:]


def split_arguments(uri: str) -> tuple[str, str]:
    """Split a URI of the configuration into path and arguments."""
    path, _, arguments = uri.partition("?")
    return path, arguments
