"""No error of the toolkit is in English alone: each is raised in both languages, or as a reason that has a form."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from ops.text.reason_forms import in_chinese
from tests.unit.source_trees import ROOT, trees_with

# What an archive holds, and what programs say, is quoted in English.
QUOTING = ("ArchiveError", "LockedArchiveError", "UndecodableArchiveError")


def _is_english_alone(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return in_chinese(node.value) is None
    if not isinstance(node, ast.JoinedStr):
        return False
    # nginx's words at a reload come with their colon.
    parts = [
        str(part.value)
        if isinstance(part, ast.Constant)
        else ": /x/7"
        if any(name in ast.unparse(part) for name in ("_said", "complaint"))
        else "/x/7"
        for part in node.values
    ]
    words = "".join(parts)
    # A program and what it printed is the same in both languages.
    return bool(words.replace("/x/7", "").strip(": ")) and in_chinese(words) is None


@cache
def raised() -> tuple[tuple[str, ast.Call], ...]:
    """Each error that the source makes, and its place."""
    return tuple(_raised())


def _raised() -> Iterator[tuple[str, ast.Call]]:
    sources = dict(trees_with())
    names = {
        node.name
        for tree in sources.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
        if {getattr(base, "id", "") for base in node.bases} & {"OpsError", "SettingsError", "UsageError"}
    } | {"OpsError", "SettingsError", "UsageError"}
    for file, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_the_errors_of_the_source_are_found() -> None:
    assert len(raised()) > 120


def test_no_error_is_raised_in_english_alone() -> None:
    plain = [
        f"{place} {ast.unparse(call)[:100]}"
        for place, call in raised()
        if ast.unparse(call.func) not in QUOTING and any(map(_is_english_alone, call.args))
    ]
    assert plain == []
