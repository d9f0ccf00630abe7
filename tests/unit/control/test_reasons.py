"""Why something was not done to the service stands in Chinese too: every reason of `ops/control` and of the reload."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from ops.control.restart import RestartError
from ops.text.language import Text
from ops.text.reason_forms import in_chinese
from tests.unit.source_trees import trees_with

GIVERS = {"RestartError", "NotAllowedError", "GoneError", "InUseError", "ReloadError", "NotLocatedError"}


def given() -> Iterator[tuple[str, str]]:
    """The reasons of the source, with a path in each place, and where they are given."""
    for file, tree in trees_with(*GIVERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in GIVERS and node.args:
                argument = node.args[0]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, f"{file.name}:{node.lineno}"
                elif isinstance(argument, ast.JoinedStr):
                    yield "".join(map(_part, argument.values)), f"{file.name}:{node.lineno}"


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    # What nginx said at a reload comes with its colon.
    words = ast.unparse(part)
    return ": /x/7" if "said" in words or words == "{complaint}" else "/x/7"


# A program and the system's word, which has its own Chinese.
REASONS = {words: place for words, place in given() if words.replace("/x/7", "") not in (": ", "")}


def test_the_reasons_of_the_source_are_found() -> None:
    assert "process /x/7 has ended" in REASONS
    assert len(REASONS) > 12


@pytest.mark.parametrize("words", REASONS)
def test_every_reason_has_a_chinese_form(words: str) -> None:
    assert in_chinese(words) is not None, (
        f"{REASONS[words]}: add a form for {words!r} to ops/text/reason_forms.py"
    )


def test_a_start_that_is_refused_keeps_both_languages() -> None:
    words = Text(en="root does not run it", zh="root 不会运行它")
    assert RestartError(words).words == words
    assert str(RestartError(words)) == words.en
    assert RestartError("process 7 has ended").words.to("zh") == "进程 7 已经结束"
