"""`gte-ops explain`: parse, call, render."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import config_option, language_option, report_format_option, settings_from, show

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ops.diagnosis.catalogue import Catalogue
    from ops.text.language import Language


def _codes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The codes that begin with what was typed, each with its title, for the shell's completion."""
    from click.shell_completion import CompletionItem

    from ops.diagnosis.catalogue import catalogue
    from ops.text.locale_language import reader_language

    language, typed = reader_language(), incomplete.upper()
    return [
        CompletionItem(code, help=catalogue().entry(code).title.to(language))
        for code in catalogue().codes
        if code.startswith(typed)
    ]


@click.command(
    cls=BilingualCommand,
    zh="""解释一个故障代码：含义，以及如何证实、修复和预防。

    不带 CODE 时列出全部代码及标题，站点自定义的排在前面。""",
)
@click.argument("code", required=False, shell_complete=_codes)
@config_option
@report_format_option
@language_option
def explain(code: str | None, config: str | None, form: str, language: Language) -> None:
    """Explain a cause: what it means, how to prove, fix and prevent it. 解释一个故障代码。

    Without CODE: every code and its title, the site's own first.

    \b
    Example:
      gte-ops explain GUN001
    """
    from ops.diagnosis.catalogue import catalogue
    from ops.report.explain import CauseListReport, ExplanationReport

    all_causes = catalogue()
    if code is None or code.strip().upper() not in all_causes.codes:
        all_causes = _with_site_causes(config)
    show(form, CauseListReport(all_causes) if code is None else ExplanationReport(code, all_causes), language)


def _with_site_causes(config: str | None) -> Catalogue:
    from ops.diagnosis.catalogue import catalogue
    from ops.doctor import site_causes

    own = site_causes(settings_from(config))
    all_causes = catalogue().extended(own.entries, ())
    if not own.definitions:
        return all_causes
    from ops.diagnosis.site_causes import extended_catalogue

    return extended_catalogue(own.definitions, all_causes)
