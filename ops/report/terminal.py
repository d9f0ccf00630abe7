"""A page of text for a terminal, a pipe or a file."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, TextIO

from ops.report.sentences import showable

if TYPE_CHECKING:
    from rich.console import Console

MAX_PROSE_COLUMNS = 110


def wants_color(out: TextIO) -> bool:
    """Whether ``out`` is a terminal whose user wants colours (no-color.org; TERM=dumb), or is to have them wherever it
    leads (force-color.org). NO_COLOR counts for more than FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (bool(out.isatty()) and os.environ.get("TERM") != "dumb")


class Page:
    """Lines of words. On a terminal prose is wrapped at its width; a command never is, so that it can be copied.

    Words are shown letter by letter: neither markup nor emoji codes in them mean anything."""

    def __init__(self, out: TextIO, color: bool | None = None) -> None:
        self._out = out
        self._colored = wants_color(out) if color is None else color
        self._wraps = bool(out.isatty())
        # Then nothing is left for rich to do, whose import takes longer than all the judging.
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

    def prose(
        self, words: str, indent: int = 0, style: str = "", lead: str = "", lead_style: str = ""
    ) -> None:
        """``lead`` (a number, a code) and then ``words``, continued under the words where they do not fit."""
        if self._is_plain:
            shown = showable(words, self._out).rstrip()
            self._out.write(f"{' ' * indent}{showable(lead, self._out)}{shown}\n")
            return
        from rich.cells import cell_len
        from rich.text import Text

        hang = indent + cell_len(lead)
        text = Text(showable(words, self._out), style=style)
        columns = min(self._console.width, MAX_PROSE_COLUMNS) - hang
        lines = text.wrap(self._console, columns) if self._wraps and columns > 20 else [text]
        for number, line in enumerate(lines):
            line.rstrip()
            begin = Text(" " * indent) if number == 0 else Text(" " * hang)
            if number == 0:
                begin.append(showable(lead, self._out), style=lead_style)
            self._print(begin + line)

    def command(self, words: str, indent: int = 0, lead: str = "") -> None:
        """A command on one line, however long."""
        if self._is_plain:
            self._out.write(f"{' ' * indent}{lead}{showable(words, self._out)}\n")
            return
        from rich.text import Text

        begin = Text(" " * indent + lead)
        begin.append(showable(words, self._out), style="cyan")
        self._print(begin)

    def blank(self) -> None:
        """An empty line."""
        if self._is_plain:
            self._out.write("\n")
        else:
            self._console.print()

    def _print(self, line: object) -> None:
        self._console.print(line, soft_wrap=True)
