"""A pattern that an operator wrote, searched with a time limit: it may backtrack without end on a line of a log."""

from __future__ import annotations

import time

import regex

from ops.text.sanitize import safe_line

# For one text and, together, for all: seconds.
TEXT_SECONDS = 0.2
ALL_SECONDS = 2.0
MAX_VALUE_CHARS = 200


class TimedPattern:
    """One pattern in the syntax of PCRE (the `regex` package)."""

    def __init__(self, pattern: str, seconds: float = ALL_SECONDS) -> None:
        """``seconds``: for all searches together, from now on."""
        self._compiled = regex.compile(pattern)
        self._give_up = time.monotonic() + seconds

    def groups(self, text: str) -> dict[str, str] | None:
        """What the named groups match in ``text``, safe to print; None without a match. Raises TimeoutError."""
        left = self._give_up - time.monotonic()
        if left <= 0:
            raise TimeoutError
        match = self._compiled.search(text, timeout=min(TEXT_SECONDS, left))
        if match is None:
            return None
        return {
            name: safe_line(words, MAX_VALUE_CHARS)
            for name, words in match.groupdict().items()
            if words is not None
        }
