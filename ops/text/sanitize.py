"""Untrusted words made fit to be shown: no control characters, no secrets, no endless lines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ops.text.secret_scan import HIDDEN as HIDDEN
from ops.text.secret_scan import signs

MAX_QUOTE_CHARS = 400

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


def without_controls(words: str) -> str:
    """``words`` without terminal escapes, control and direction characters; newlines and tabs stay."""
    if words.isascii() and words.isprintable():
        return words
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", words)))


def encodable(words: str) -> str:
    """``words`` as UTF-8 has them: a mark for each byte of a name that is no UTF-8 (PEP 383)."""
    return _SURROGATES.sub("\ufffd", words)


# A character that is not shown, by its number.
INVISIBLE_MARK = re.compile(r"<U\+([0-9A-F]{4,6})>")


def show_invisible(words: str) -> str:
    """One line with each character that is not shown (byte order mark, zero width, blanks other than the plain one and
    the tab, controls) as its number, such as ``<U+FEFF>``; a terminal's escape sequences stay, for `safe_line`."""
    return "".join(
        f"<U+{ord(character):04X}>"
        if character not in " \t\x1b" and unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")
        else character
        for character in words
    )


def without_secrets(words: str) -> str:
    """``words`` with credentials and private keys replaced by ``***``."""
    if not signs.may_hold_secret(words):
        return words
    # Rules, names and values take some milliseconds to load: only where something is to be hidden.
    from ops.text.secret_scan.scan import without_secrets

    return without_secrets(words)


def last_line(output: bytes) -> str:
    """The last line of a program's output that is not blank, safe to print."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return safe_line(lines[-1]) if lines else "it said nothing"


def safe_text(words: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """``words`` fit to be stored and shown over several lines: escapes and secrets removed, at most ``limit`` chars."""
    # Bound first: the patterns run over what is kept, not over a gigabyte.
    clean = without_secrets(without_controls(words[: 4 * limit])).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def safe_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line, each by `safe_line`: an option's value is hidden where the option announces a
    secret, and so are the passwords that known programs take."""
    if signs.may_hold_secret(" ".join(words)):
        from ops.text.secret_scan.command_lines import without_secret_arguments

        words = without_secret_arguments(words)
    return tuple(map(safe_line, words))


def safe_line(words: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """`safe_text` on one line: runs of white space become one blank."""
    return safe_text(" ".join(without_controls(words[: 4 * limit]).split()), limit)
