"""The pages of `gte-ops explain`: one entry of the catalogue without a host, and the list of all."""

from __future__ import annotations

from typing import TextIO

from ops.diagnosis.catalogue import GUIDE_VALUES, CauseEntry, catalogue, is_command
from ops.report.sentences import readable_language
from ops.report.terminal import Page
from ops.text.language import Language, Text

_MEANS = Text(en="What it means", zh="含义")
_SHOWS = Text(en="How it shows", zh="表现")
_VERIFY = Text(en="Verify", zh="验证")
_FIX = Text(en="Fix", zh="修复")
_PREVENT = Text(en="Prevent", zh="预防")
_USUALLY: dict[str, Text] = {
    "fail": Text(en="usually: users are hurt now", zh="通常：用户已受影响"),
    "warn": Text(en="usually: a warning", zh="通常：警告"),
}
_EXAMPLE_HOST = Text(
    en="Paths and addresses are those of the deployment guide; gte-ops doctor shows this host's own.",
    zh="路径和地址按部署指南示例，gte-ops doctor 会显示本机的实际值。",
)


def render_explanation(code: str, language: Language, out: TextIO, color: bool | None = None) -> None:
    """Write the page about ``code``, in either case of letters. Raises `ops.diagnosis.catalogue.UnknownCodeError`."""
    language = readable_language(language, out)
    entry = catalogue().entry(code.strip().upper())
    values = example_values(entry)
    page = Page(out, color)
    page.prose(entry.title.to(language), style="bold", lead=f"{entry.code}  ", lead_style="bold red")
    page.prose(_USUALLY[entry.severity].to(language), style="dim")
    for heading, words in ((_MEANS, entry.means), (_SHOWS, entry.shows)):
        _heading(page, heading.to(language))
        page.prose(words.to(language), indent=3)
    _heading(page, _VERIFY.to(language))
    page.command(entry.verify_with(values).to(language), indent=3)
    _heading(page, _FIX.to(language))
    for number, step in enumerate(entry.fix_with(values), 1):
        show = page.command if is_command(step) else page.prose
        show(step.to(language), indent=3, lead=f"{number}. ")
    _heading(page, _PREVENT.to(language))
    page.prose(entry.prevent.to(language), indent=3)
    page.blank()
    page.prose(_EXAMPLE_HOST.to(language), style="dim")


def list_causes(language: Language, out: TextIO, color: bool | None = None) -> None:
    """Write every code and its title, in the catalogue's order."""
    language = readable_language(language, out)
    page = Page(out, color)
    for code in catalogue().codes:
        page.prose(catalogue().entry(code).title.to(language), lead=f"{code}  ", lead_style="bold")


def example_values(entry: CauseEntry) -> dict[str, str]:
    """The guide's own host, and for what only a real case knows the name in capitals: ``kill PID``."""
    return GUIDE_VALUES | {name: name.upper() for name in entry.facts}


def _heading(page: Page, words: str) -> None:
    page.blank()
    page.prose(words, style="bold")
