"""The layout of every command's report on a terminal: its width is kept, in English and Chinese, and nothing that one
would copy is broken."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ops.report.formats.text import write
from ops.report.terminal import MAX_PROSE_COLUMNS
from ops.report.wrap import wrap
from ops.text.language import Language
from tests.unit.made_diagnosis import Terminal
from tests.unit.report.made_reports import LONG_PATH, REPORTS

CLOSING = "，。、；：？！）》」』】”’"
OPENING = "（《「『【“‘"


def shown(name: str, language: Language, out: io.StringIO, *, color: bool | None = None) -> list[str]:
    write(REPORTS[name](), language, out, color)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal_but_what_is_one_piece(
    name: str, language: Language, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    verbatim = {line.plain for line in REPORTS[name]().lines(language) if line.is_verbatim}
    for line in shown(name, language, Terminal(), color=False):
        width = min(columns, MAX_PROSE_COLUMNS)
        # A piece that is wider than the line is alone on it, behind the line's lead at most.
        pieces = [piece for piece in re.split(r"\s+", line.strip()) if piece]
        assert (
            line in verbatim
            or cell_len(line) <= width
            or any(cell_len(piece) > width // 2 and re.search(r"[/.:@=]", piece) for piece in pieces)
        ), line


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", REPORTS)
def test_the_terminal_shows_the_words_of_the_pipe_and_breaks_no_path(
    name: str, language: Language, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = shown(name, language, Terminal(), color=False)
    details = [line.plain for line in REPORTS[name]().lines(language) if line.is_detail]
    pipe = shown(name, language, io.StringIO()) + details

    def letters(lines: list[str]) -> list[str]:
        return sorted("".join(lines).replace(" ", ""))

    assert letters(terminal) == letters(pipe)
    paths = set(re.findall(re.escape(str(LONG_PATH)), "\n".join(pipe)))
    assert all(any(path in line for line in terminal) for path in paths)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("name", REPORTS)
def test_no_chinese_line_begins_with_a_closing_mark_or_ends_with_an_opening_one(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for line in shown(name, "zh", Terminal(), color=False):
        assert not line.strip().startswith(tuple(CLOSING)), line
        assert not line.rstrip().endswith(tuple(OPENING)), line


@pytest.mark.parametrize("name", REPORTS)
def test_colours_are_heeded_by_every_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    plain = shown(name, "zh", io.StringIO())
    assert "\x1b" not in "".join(plain)
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = shown(name, "zh", io.StringIO())
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in colored] == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(name, "zh", io.StringIO()) == plain
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in "".join(shown(name, "zh", Terminal()))


WORDS = st.text(st.sampled_from("ab/-. 中文，。（）《》、：“”"), max_size=120)


@given(WORDS, st.integers(21, 120), st.integers(21, 120))
def test_wrapping_keeps_every_letter_and_breaks_only_where_it_may(words: str, first: int, rest: int) -> None:
    lines = wrap(words, first, rest)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    for line, following in itertools.pairwise(lines):
        # Unless the text itself has a blank there.
        assert following[0] not in CLOSING or re.search(rf"\s{following[0]}", words)
        assert line[-1] not in OPENING or re.search(rf"{line[-1]}\s", words)
        # Two letters of one word or path were not torn apart: there was a blank, or Chinese beside the break.
        joined = re.escape(line[-1]) + r"\s+" + re.escape(following[0])
        assert re.search(joined, words) or not (line[-1].isascii() and following[0].isascii())


@given(st.lists(st.sampled_from(["中", "文", "a", "bc", "。"]), min_size=1, max_size=80), st.integers(21, 60))
def test_a_line_is_as_wide_as_it_may_be_and_no_wider(words: list[str], columns: int) -> None:
    for line in wrap("".join(words), columns, columns):
        # Closing marks and letters hang together with what is before them.
        pieces = re.findall(r"[a-z]+。*|.。*", line)
        assert cell_len(line) <= columns or len(pieces) == 1


def test_a_path_with_chinese_directories_is_one_piece() -> None:
    path = "/srv/运维/备份/gte-ops.tar.zst"
    lines = wrap(f"无法读取文件{path}，请检查权限后重试，必要时以管理员身份运行", 30, 30)
    assert any(path in line for line in lines)
    assert len(lines) > 2
