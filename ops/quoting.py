"""Untrusted words made fit to be shown: no control characters, no secrets, no endless lines."""

from __future__ import annotations

import re

MAX_QUOTE_CHARS = 400
HIDDEN = "***"

# ESC sequences go as a whole (ECMA-48: CSI, OSC and two-character forms), so that no harmless-looking rest is left.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?"
)
# C0, DEL, C1, the characters that reorder or hide text (Unicode bidi controls, zero width), and noncharacters, which
# XML 1.0 cannot hold.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")

_SECRETS = (
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*)(?:(?:basic|bearer|digest|token)\s+)?[^\s,;\"']+"
        ),
        r"\1",
    ),
    (re.compile(r"(?i)\b((?:set-)?cookie\s*[:=]\s*)[^\r\n\"]+"), r"\1"),
    (
        re.compile(
            # What stands before the word is not looked at: a-a-a-a- would be gone through from each of its beginnings.
            r"(?i)(?<![^\W_])((?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|signature)"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s&,;\"']+"
        ),
        r"\1",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[a-z0-9._~+/=-]{8,}"), r"\1"),
    (re.compile(r"\b(sk-)[A-Za-z0-9_-]{8,}"), r"\1"),
    (re.compile(r"(://[^/\s:@]+:)[^/\s@]+(?=@)"), r"\1"),
)
# Each of the patterns needs one of these; most words have none, and are quoted by the thousand.
_SECRET_SIGNS = re.compile(r"[:=]|(?i:bearer)|sk-|-----BEGIN ")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def without_controls(words: str) -> str:
    """``words`` without terminal escapes, control and direction characters; newlines and tabs stay."""
    if words.isascii() and words.isprintable():
        return words
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", words)))


def without_secrets(words: str) -> str:
    """``words`` with credentials and private keys replaced by ``***``."""
    if not _SECRET_SIGNS.search(words):
        return words
    words = _PRIVATE_KEY.sub(HIDDEN, words)
    for pattern, kept in _SECRETS:
        words = pattern.sub(kept + HIDDEN, words)
    return words


def safe_text(words: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """``words`` fit to be stored and shown over several lines: escapes and secrets removed, at most ``limit`` chars."""
    # Bound first: the patterns run over what is kept, not over a gigabyte.
    clean = without_secrets(without_controls(words[: 4 * limit])).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def safe_line(words: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """`safe_text` on one line: runs of white space become one blank."""
    return safe_text(" ".join(without_controls(words[: 4 * limit]).split()), limit)
