"""Which program a master becomes that takes over from a running one."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from service import gunicorn_conf


def executed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, list[str]]:
    """The program and its arguments, of a master that was started with ``arguments``."""
    monkeypatch.setattr(sys, "argv", list(arguments))
    context = {0: "/old/bin/python3", "args": ["/old/bin/python3", *arguments]}
    gunicorn_conf.pre_exec(SimpleNamespace(START_CTX=context))
    return str(context[0]), list(context["args"])


def test_a_successor_is_the_program_that_a_start_would_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "gunicorn"
    program.touch(0o755)
    assert executed(monkeypatch, str(program), "-c", "x") == (str(program), [str(program), "-c", "x"])


def test_without_such_a_program_it_is_the_same_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = tmp_path / "__main__.py"
    module.touch(0o644)
    assert executed(monkeypatch, str(module)) == ("/old/bin/python3", ["/old/bin/python3", str(module)])
