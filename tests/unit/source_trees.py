"""The toolkit's source, parsed: for tests that read in it which words it has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import ops

ROOT = Path(ops.__file__).parent


@cache
def _texts() -> dict[Path, str]:
    return {file: file.read_text(encoding="utf-8") for file in sorted(ROOT.rglob("*.py"))}


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(_texts()[file])


def trees_with(*words: str, room: Path = ROOT) -> Iterator[tuple[Path, ast.Module]]:
    """The files below ``room`` that hold any of the words; all without words. Only those are parsed, each once: every
    process of a test run reads them while it collects."""
    for file, text in _texts().items():
        if file.is_relative_to(room) and (not words or any(word in text for word in words)):
            yield file, _tree(file)
