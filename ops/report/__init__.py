"""One diagnosis, rendered: a module for each format. None of them decides anything."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TextIO

from ops.diagnosis.model import Diagnosis
from ops.errors import UsageError
from ops.text.language import Language

Renderer = Callable[[Diagnosis, Language, TextIO, bool | None], None]

# Format -> where its renderer is; it is imported when it is asked for.
RENDERERS: dict[str, tuple[str, str]] = {
    "text": ("ops.report.doctor.text", "render_text"),
    "json": ("ops.report.doctor.json", "render_json"),
    "nagios": ("ops.report.doctor.nagios", "render_nagios"),
    "html": ("ops.report.doctor.html", "render_html"),
    "junit": ("ops.report.doctor.junit", "render_junit"),
}


def renderer(form: str) -> Renderer:
    """The renderer for ``form``. Raises `UsageError` for a format there is none for."""
    if form not in RENDERERS:
        raise UsageError(f"there is no format {form!r}; choose one of {', '.join(RENDERERS)}")
    module, name = RENDERERS[form]
    found: Renderer = getattr(importlib.import_module(module), name)
    return found


def render(
    form: str, diagnosis: Diagnosis, language: Language, out: TextIO, color: bool | None = None
) -> None:
    """Write ``diagnosis`` to ``out``. ``color`` None: where ``out`` is a terminal that wants it."""
    renderer(form)(diagnosis, language, out, color)
