"""docs/causes has every cause of the catalogue, whole, in both languages, and is what the catalogue says today."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import get_args

import pytest
from markdown_it import MarkdownIt

from ops.diagnosis.catalogue import LAYERS, CauseEntry, catalogue, is_command, layer_codes
from ops.report.explain import example_values
from ops.text.language import Language, verbatim
from scripts import reference
from scripts.cause_pages import index_page, layer_page
from scripts.reference import main, out_of_date

LANGUAGES: tuple[Language, ...] = get_args(Language)
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def text_of(page: str) -> str:
    """What a reader of the rendered page sees, in one line."""
    rendered = MARKDOWN.render(re.sub(r"<!--.*?-->", "", page))
    assert not re.search(
        r"<(?!/?(?:h[1-6]|p|a|table|thead|tbody|tr|th|td|strong|ol|ul|li|pre|code)\b)", rendered
    )
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", rendered)).split())


def promised(entry: CauseEntry, language: Language) -> list[str]:
    """Everything the page must say of a cause."""
    values = example_values(entry)
    texts = (entry.title, verbatim(entry.severity), entry.means, entry.shows, entry.verify_with(values))
    return [text.to(language) for text in (*texts, *entry.fix_with(values), entry.prevent)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_s_page_says_all_of_each_cause_word_for_word(layer: str, language: Language) -> None:
    page = layer_page(layer, language)
    for code in layer_codes(layer):
        part = page.partition(f"\n## {code}\n")[2].partition("\n## ")[0]
        seen = text_of(part)
        for words in promised(catalogue().entry(code), language):
            assert " ".join(words.split()) in seen, (code, words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_commands_are_shown_as_code(language: Language) -> None:
    entry = catalogue().entry("GUN012")
    rendered = MARKDOWN.render(layer_page("gunicorn", language))
    values = example_values(entry)
    commands = [step.en for step in (entry.verify_with(values), *entry.fix_with(values)) if is_command(step)]
    assert len(commands) > 1
    for command in commands:
        assert f"<code>{html.escape(command, quote=False)}" in rendered


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_index_has_every_cause_once(language: Language) -> None:
    page = index_page(language)
    text = text_of(page)
    for code in catalogue().codes:
        assert page.count(f"[{code}](") == 1
        assert catalogue().entry(code).title.to(language) in text


def test_a_page_that_is_stale_missing_or_left_over_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, missing, left_over = (tmp_path / name for name in ("dns.md", "net.md", "gone.md"))
    stale.write_text(layer_page("dns", "en").replace("resolve", "resolv", 1))
    left_over.write_text("# A layer that is no more\n")
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "CAUSES", tmp_path)
    pages = {stale: lambda: layer_page("dns", "en"), missing: lambda: layer_page("net", "en")}
    monkeypatch.setattr(reference, "PAGES", pages)
    assert out_of_date() == [stale, missing, left_over]
    assert main(["--check"]) == 1
    left_over.unlink()
    assert main([]) == 0
    assert main(["--check"]) == 0
