"""Everything that is shown. A command makes a `CommandReport`; each format has one writer, for every command.

A format is a module of `ops/report/formats/` with a function ``write``, and its name in `FORMATS`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from ops.report.model import CommandReport
    from ops.text.language import Language

    Writer = Callable[[CommandReport, Language, TextIO, bool | None], None]

FORMATS = ("text", "json", "nagios", "html", "junit", "prometheus")


def writer(form: str) -> Writer:
    """The writer of ``form``. Raises `UsageError` for a format there is none for."""
    from ops.errors import UsageError
    from ops.text.language import Text

    if form not in FORMATS:
        raise UsageError(
            Text(
                en=f"there is no format {form!r}; choose one of {', '.join(FORMATS)}",
                zh=f"没有 {form!r} 这种格式；可选：{'、'.join(FORMATS)}",
            )
        )
    # Imported when it is asked for: HTML alone costs more than the diagnosis.
    write: Writer = importlib.import_module(f"ops.report.formats.{form}").write
    return write


def render(
    form: str, report: CommandReport, language: Language, out: TextIO, color: bool | None = None
) -> None:
    """Write ``report`` to ``out``. ``color`` None: if ``out`` is a terminal that wants it."""
    writer(form)(report, language, out, color)
