"""The one layout of lines: on a terminal, in a pipe, in a file."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, TextIO

from ops.report.model import ReportLine
from ops.report.sentences import showable

if TYPE_CHECKING:
    from rich.console import Console

MAX_PROSE_COLUMNS = 110
# On a narrower terminal text is left to the terminal: columns of a few letters are not read.
MIN_PROSE_COLUMNS = 20
# A lead that takes more of the line than this share does not push the lines below it to the right.
MAX_HANG_SHARE = 0.5


def wants_color(out: TextIO) -> bool:
    """Whether ``out`` is a terminal whose user wants colours (no-color.org; TERM=dumb), or is to have them wherever it
    leads (force-color.org). NO_COLOR counts for more than FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (bool(out.isatty()) and os.environ.get("TERM") != "dumb")


class Page:
    """Lines of words. On a terminal prose is wrapped at its width, never inside a path or a word; a command never is,
    so that it can be copied.

    Words are shown letter by letter: neither markup nor emoji codes in them mean anything."""

    def __init__(self, out: TextIO, color: bool | None = None) -> None:
        self._out = out
        self._colored = wants_color(out) if color is None else color
        self._wraps = bool(out.isatty())
        # Then nothing is left for rich to do, whose import takes longer than the whole diagnosis.
        self._is_plain = not self._colored and not self._wraps

    @functools.cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(
            file=self._out,
            color_system="standard" if self._colored else None,
            no_color=not self._colored,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )

    def line(self, line: ReportLine, before: str = "") -> None:
        """One line of a report, after the words ``before`` on the same line."""
        words = showable(line.words, self._out)
        lead = before + " " * line.indent + showable(line.lead, self._out)
        if self._is_plain:
            self._out.write(lead + (words if line.is_verbatim else words.rstrip()) + "\n")
            return
        if line.is_verbatim and not (self._colored and line.style):
            # Not through rich, which would turn tabs into blanks.
            self._out.write(f"{lead}{words}\n")
            return
        from rich.text import Text

        begin = Text(before + " " * line.indent)
        begin.append(showable(line.lead, self._out), style=line.lead_style)
        for number, part in enumerate([words] if line.is_verbatim else self._wrapped(words, lead)):
            start = begin if number == 0 else Text(" " * self._hang(lead))
            self._console.print(start + Text(part, style=line.style), soft_wrap=True)

    def _columns(self) -> int:
        return min(self._console.width, MAX_PROSE_COLUMNS)

    def _hang(self, lead: str) -> int:
        """How far the second line of a paragraph is indented."""
        from rich.cells import cell_len

        width, blanks = cell_len(lead), len(lead) - len(lead.lstrip())
        return width if width <= self._columns() * MAX_HANG_SHARE else blanks + 2

    def _wrapped(self, words: str, lead: str) -> list[str]:
        from rich.cells import cell_len

        from ops.report.wrap import wrap

        columns = self._columns()
        if not self._wraps or columns <= MIN_PROSE_COLUMNS:
            return [words.rstrip()]
        return wrap(words, columns - cell_len(lead), columns - self._hang(lead))
