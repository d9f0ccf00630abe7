"""Every program that ops runs is named by its place, which was asked for: a bare name is whatever $PATH makes of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

OPS = Path(__file__).resolve().parents[2] / "ops"
STARTS = {"run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
EXECS = {name for name in dir(__import__("os")) if name.startswith(("exec", "spawn", "posix_spawn"))} | {
    "system",
    "popen",
}
EXECS -= {"execv", "execve", "spawnv", "spawnve", "posix_spawn"}  # these look nothing up on $PATH
# Where a bare name that a word list begins with is known not to be run: what is shown, and what is resolved first.
Function = ast.FunctionDef | ast.AsyncFunctionDef


def bare_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every call that starts a program by a bare name, or by a name that this cannot follow: line and why."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        match call.func:
            case ast.Attribute(value=ast.Name(id="shutil"), attr="which"):
                yield call.lineno, "shutil.which: ask trusted_program"
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in EXECS:
                yield call.lineno, f"os.{name} looks the program up"
            case ast.Attribute(value=ast.Name(id="subprocess"), attr=name) if name in STARTS:
                if any(keyword.arg == "shell" for keyword in call.keywords):
                    yield call.lineno, "a shell"
                for word in _first_words(call.args[0] if call.args else None, call, tree, 0):
                    yield call.lineno, word
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "shutil"):
            taken = {alias.name for alias in node.names} & (STARTS | {"which"})
            if taken:
                yield node.lineno, f"from {node.module} import {', '.join(sorted(taken))}: not followed"


def _first_words(node: ast.expr | None, at: ast.AST, tree: ast.Module, depth: int) -> Iterator[str]:
    """The bare names that a command may begin with, followed through names, parameters and their callers."""
    match node:
        case ast.List(elts=[first, *_]) | ast.Tuple(elts=[first, *_]):
            yield from _first_words(first.value if isinstance(first, ast.Starred) else first, at, tree, depth)
        case ast.Constant(value=str() as text) if "/" not in text:
            yield text
        case ast.IfExp():
            yield from _first_words(node.body, at, tree, depth)
            yield from _first_words(node.orelse, at, tree, depth)
        case ast.BoolOp():
            for value in node.values:
                yield from _first_words(value, at, tree, depth)
        case ast.BinOp():
            yield from _first_words(node.left, at, tree, depth)
        case ast.Call(func=ast.Name(id="list" | "tuple" | "str"), args=[only]):
            yield from _first_words(only, at, tree, depth)
        case ast.Name(id=name) if depth < 8:
            yield from _bound(name, at, tree, depth + 1)


def _bound(name: str, at: ast.AST, tree: ast.Module, depth: int) -> Iterator[str]:
    """What a name is bound to in the function around ``at``: assignments, and what callers pass for it."""
    function = next(
        (f for f in ast.walk(tree) if isinstance(f, Function) and any(node is at for node in ast.walk(f))),
        None,
    )
    scope: ast.AST = function or tree
    for node in ast.walk(scope):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.For)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = node.iter if isinstance(node, ast.For) else node.value  # type: ignore[attr-defined]
            yield from _first_words(value, node, tree, depth)
    if function is None:
        return
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if name in names:
        place = names.index(name)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", None)
            if called == function.name:
                offset = 1 if names[0] == "self" else 0
                if place - offset < len(call.args):
                    yield from _first_words(call.args[place - offset], call, tree, depth)
                for keyword in call.keywords:
                    if keyword.arg == name:
                        yield from _first_words(keyword.value, call, tree, depth)


def found(text: str) -> list[str]:
    return [why for _, why in bare_names(ast.parse(text))]


MODULES = sorted(path.relative_to(OPS).as_posix() for path in OPS.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_no_program_is_started_by_a_bare_name(module: str) -> None:
    tree = ast.parse((OPS / module).read_text())
    assert [f"{module}:{line}: {why}" for line, why in bare_names(tree)] == []


@pytest.mark.parametrize(
    "text",
    [
        "subprocess.run(['openssl', 'version'])",
        "subprocess.Popen(('ss', '-x'))",
        "subprocess.run('nginx -t', shell=True)",
        "subprocess.check_output(['id'])",
        "def f():\n    command = ['journalctl', '-k']\n    subprocess.run(command)",
        "def f():\n    command: list[str] = ['ssh'] + options\n    subprocess.run([*command, host])",
        "def f():\n    name = 'ss'\n    subprocess.run([name])",
        "def f():\n    subprocess.run([found or 'nginx', '-V'])",
        "def g(command):\n    subprocess.run(command)\ndef f():\n    g(['restic'])",
        "def g(command):\n    subprocess.run(command)\ndef f():\n    g(command=['restic'])",
        "class A:\n  def g(self, command):\n    subprocess.run(command)\n  def f(self):\n    self.g(['restic'])",
        "def f():\n    for command in (['a'], ['b']):\n        subprocess.run(command)",
        "os.execvp('nginx', [])",
        "os.system('id')",
        "shutil.which('openssl')",
        "from subprocess import run",
        "from shutil import which",
    ],
)
def test_a_bare_name_is_found(text: str) -> None:
    assert found(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "subprocess.run([trusted_program('openssl'), 'version'])",
        "subprocess.run([sys.executable, '-P', '-m', 'ops'])",
        "subprocess.run(['/bin/sh', '-c', 'true'])",
        "def f():\n    program = trusted_program('ss')\n    subprocess.run([program, '-x'])",
        "shutil.disk_usage('/')",
    ],
)
def test_a_program_that_was_asked_for_is_none(text: str) -> None:
    assert found(text) == []
