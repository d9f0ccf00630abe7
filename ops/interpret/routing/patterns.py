"""nginx's regular expressions (PCRE), matched against bytes within a time limit."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ops.interpret.routing.model import UndeterminedError, as_bytes, unescaped
from ops.text.language import Text
from ops.text.sanitize import HIDDEN

if TYPE_CHECKING:
    import regex

MAX_SECONDS = 0.2
# A brace that opens no repetition is literal in PCRE, but starts a fuzzy match in the module `regex`.
_LITERAL_BRACE = re.compile(r"(?<![\\])(?<!\\[pPxkgNo])\{(?!\d+(?:,\d*)?\})")


class PatternMatch(dict[str, str]):
    """The groups of a match by number and by name; unmatched groups are empty."""


@lru_cache(maxsize=1024)
def _compiled(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    import regex

    flags = regex.VERSION0 | regex.ASCII | (regex.IGNORECASE if ignore_case else 0)
    return regex.compile(_LITERAL_BRACE.sub(r"\\{", as_bytes(unescaped(pattern))), flags)


def search(pattern: str, subject: str, *, ignore_case: bool, where: str) -> PatternMatch | None:
    """Return the captures of ``pattern`` (as in the configuration) in ``subject`` (bytes); None if it does not match.

    Raises UndeterminedError if the pattern is incomplete or invalid here, or takes too long."""
    import regex

    if HIDDEN in pattern or pattern.endswith("…"):
        words = Text(en="the pattern was not read whole", zh="正则表达式没有完整读入")
        raise UndeterminedError(words, where)
    try:
        match = _compiled(pattern, ignore_case).search(subject, timeout=MAX_SECONDS)
    except (regex.error, TimeoutError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = f"{type(error).__name__}: {pattern}"[:200]
        raise UndeterminedError(
            Text(
                en=f"the regular expression could not be tried here ({reason})",
                zh=f"这里无法计算该正则表达式（{reason}）",
            ),
            where,
        ) from None
    if match is None:
        return None
    captures = PatternMatch(
        {str(number): match[number] or "" for number in range((match.lastindex or 0) + 1)}
    )
    captures.update({name: value or "" for name, value in match.groupdict().items()})
    return captures
