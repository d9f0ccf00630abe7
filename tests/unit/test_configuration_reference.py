"""docs/configuration.md has every key and every variable, in both languages, and is what its source says today."""

from __future__ import annotations

import dataclasses
import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest

from ops.report.config_reference import key_values
from ops.settings import Settings as OpsSettings
from scripts import reference
from scripts.reference import DocumentedVariable, default_cell, main, out_of_date, page, variables
from service.settings import (
    ServerSettings,
    Settings,
    SettingsError,
    Variable,
    read_server_settings,
    read_settings,
    unknown_names,
)

CHINESE = re.compile(r"[\u4e00-\u9fff]")
VARIABLES = [*variables(Settings), *variables(ServerSettings)]
NAMES = [variable.name for variable in VARIABLES]


def test_the_pages_are_what_the_source_says() -> None:
    assert out_of_date() == [], "run python -m scripts.reference"


def test_a_page_that_is_out_of_date_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "docs/configuration.md"
    stale.parent.mkdir()
    stale.write_text(page("en").replace("15m", "16m"))
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "CAUSES", tmp_path / "docs/causes")
    pages = {stale: partial(page, "en"), tmp_path / "docs/missing.md": partial(page, "zh")}
    monkeypatch.setattr(reference, "PAGES", pages)
    assert out_of_date() == [stale, tmp_path / "docs/missing.md"]
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_has_every_key_and_every_variable(language: Any) -> None:
    text = page(language)
    for name, _, _ in key_values(OpsSettings()):
        section, _, key = name.partition(".")
        rows = text.partition(f"### `[{section}]`")[2].partition("\n### ")[0]
        assert f"\n| `{key}` |" in rows, name
    for name in NAMES:
        assert f"\n| `{name}` |" in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_row_has_all_its_cells(language: Any) -> None:
    rows = [line for line in page(language).splitlines() if line.startswith("|")]
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 6, row
        assert all(cells), row


def test_the_page_s_head_wraps_at_120_columns() -> None:
    assert max(len(line) for line in page("en").splitlines() if not line.startswith("|")) <= 120


@pytest.mark.parametrize("variable", VARIABLES, ids=NAMES)
def test_a_variable_has_a_meaning_in_both_languages_and_the_version_that_brought_it(
    variable: DocumentedVariable,
) -> None:
    about = variable.about
    assert len(about.en) > 10
    assert not CHINESE.search(about.en)
    assert CHINESE.search(about.zh)
    assert about.en.endswith(".")
    assert about.zh.endswith("。")
    assert re.fullmatch(r"\d+\.\d+\.\d+", about.since)
    assert (about.unit in reference.UNITS) is (variable.kind in (int, float))


# Variables that mean nothing without another one.
NEEDED_BESIDE = {"GTE_MODEL_DOWNLOAD": {"GTE_MODEL_DIR": "/srv/gte"}, "GTE_BURST": {"GTE_RATE": "600r/m"}}


@pytest.mark.parametrize("variable", VARIABLES, ids=NAMES)
def test_an_example_is_a_value_that_the_variable_may_have(variable: DocumentedVariable) -> None:
    environ = {variable.name: variable.about.example} | NEEDED_BESIDE.get(variable.name, {})
    field = variable.name.removeprefix("GTE_").lower()
    try:
        group = read_settings(environ) if hasattr(read_settings({}), field) else read_server_settings(environ)
    except SettingsError as error:
        pytest.fail(str(error))
    assert getattr(group, field) != variable.default
    assert unknown_names(environ) == []


@pytest.mark.parametrize("variable", VARIABLES, ids=NAMES)
def test_the_choices_that_a_refusal_names_are_in_the_meaning(variable: DocumentedVariable) -> None:
    try:
        read_settings({variable.name: "no-such-choice"})
        read_server_settings({variable.name: "no-such-choice"})
    except SettingsError as error:
        choices = str(error).partition("expected one of ")[2]
        for choice in filter(None, choices.split(", ")):
            if choice != "0":
                assert f"`{choice}`" in variable.about.en
                assert f"`{choice}`" in variable.about.zh


@pytest.mark.parametrize("variable", VARIABLES, ids=NAMES)
def test_a_default_that_depends_on_something_else_is_said_in_words(
    variable: DocumentedVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = variable.name.removeprefix("GTE_").lower()
    values = set()
    for cores, environ in (
        (2, {}),
        (7, {}),
        (2, {"GTE_MODEL_DIR": "/srv/gte"}),
        (7, {"GTE_MODEL_DIR": "/srv/gte"}),
        (2, {"GTE_MAX_BODY_BYTES": "2000"}),
    ):
        if variable.name in environ:
            continue
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        everything = dataclasses.asdict(read_settings(environ)) | dataclasses.asdict(
            read_server_settings(environ)
        )
        values.add(everything[field])
    depends = len(values) > 1 or None in values or () in values
    assert bool(variable.about.default[0]) is depends
    assert bool(variable.about.default[1]) is depends
    assert default_cell(variable, "en")
    assert default_cell(variable, "zh")


def test_a_variable_that_says_nothing_is_noticed() -> None:
    @dataclasses.dataclass
    class Silent:
        engine: str
        bind: Annotated[str, Variable("x", "x", example="x", since="0.1.0")]

    assert get_type_hints(Silent)
    with pytest.raises(TypeError, match=r"Silent\.engine says nothing"):
        variables(Silent)
