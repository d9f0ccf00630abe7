"""Lays out a new cause: its entry, its judge, its unit cases and its fault in the lab, each to be filled in.

All four are written, or none. Everything else that knows of causes follows from them: see CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.diagnosis.catalogue import LAYERS, catalogue, layer_codes

ROOT = Path(__file__).resolve().parent.parent
LINE_LENGTH = 110
# What stands here is still to be written; tests look for it.
TODO = "TODO"


class NewCauseError(Exception):
    """The cause cannot be laid out; the message says why, and what to do instead."""


@dataclass(frozen=True)
class Layer:
    """A layer's places: its file of the catalogue, the module of its judges, the module of its faults in the lab."""

    catalogue: str
    checks: str
    faults: str


# Of these two the modules are older than the catalogue's names.
_OTHER_NAMES = {"environment": ("env", "env"), "safeguards": ("safeguards", "ops")}
PREFIXES = {layer_codes(name)[0][:3]: Layer(name, *_OTHER_NAMES.get(name, (name, name))) for name in LAYERS}

ENTRY = """[{code}]
severity = "warn"
explains = []
facts = []
verify = 'TODO: one command that shows it'
fix = [
  {{ en = "TODO: the steps, in order: each a sentence in both languages or a plain string, a command", zh = "TODO" }},
]
[{code}.en]
title = "TODO: what is wrong, without a full stop"
summary = "TODO: one sentence about this very case, with the facts that the judge supplies."
means = "TODO: what it does to users, and why."
shows = "TODO: what one sees: status codes, error messages, lines of logs."
prevent = "TODO: how it never happens again."
[{code}.zh]
title = "TODO"
summary = "TODO"
means = "TODO"
shows = "TODO"
prevent = "TODO"
"""
# Inputs of a judge are sections of `ops.facts.snapshot.Snapshot`.
JUDGE = '''@check("{layer}.{name}", "{code}", en="TODO: what is so when all is well", zh="TODO")
def {name}(target: Target) -> Iterator[Finding]:
    """{code}: TODO: what must be observed before it is named. Say where the rule is from."""
    is_proven = target.domain == "TODO"
    if is_proven:
        yield Finding("{code}", (quote("TODO: where it was seen", "TODO: what was seen"),), {{}})


'''
CASES = """    fires("{code}", "TODO: the fault", HEALTHY),
    quiet("{code}", "TODO: the nearest thing that is no fault", HEALTHY),
"""
FAULT = '''

@fault("{code}", sees=lambda stack: stack.predict().status == "TODO", severity="warn")
def {name}(stack: Stack) -> None:
    """TODO: break the stack; ``sees`` is what a client meets then."""
    raise NotImplementedError("{code}: TODO")
'''


def lay_out(root: Path, code: str, module: str | None = None) -> dict[Path, str]:
    """The new contents of the four files. Raises NewCauseError for a code that is taken or belongs to no layer."""
    if not re.fullmatch(r"[A-Z]{3}\d{3}", code):
        raise NewCauseError(f"{code}: a code is three capitals and three digits, as in NGX020")
    if code[:3] not in PREFIXES:
        raise NewCauseError(f"{code}: no layer is called {code[:3]}; there are {', '.join(PREFIXES)}")
    if code in catalogue().codes:
        title = catalogue().entry(code).title.en
        raise NewCauseError(f"{code} is taken ({title}); the next free number is {next_free(code[:3])}")
    layer = PREFIXES[code[:3]]
    module = module or layer.checks
    if module != layer.checks and not module.startswith(f"{layer.checks}_"):
        raise NewCauseError(f"{module}: a judge of {code[:3]} is in {layer.checks}.py or {layer.checks}_*.py")
    checks = root / f"ops/diagnosis/checks/{module}.py"
    if not checks.exists():
        raise NewCauseError(f"{checks.relative_to(root)}: there is no such file")
    words = {
        "code": code,
        "name": code.lower(),
        "layer": "ops" if layer.checks == "safeguards" else layer.checks,
    }
    entries = root / f"ops/diagnosis/catalogue/{layer.catalogue}.toml"
    cases = root / f"tests/unit/diagnosis/checks/test_{module}.py"
    faults = root / f"tests/lab/faults/{layer.faults}.py"
    return {
        entries: with_entry(_text(entries), code, ENTRY.format(**words)),
        checks: with_judge(_text(checks), words["name"], JUDGE.format(**words)),
        cases: with_cases(_text(cases), CASES.format(**words)),
        faults: with_fault(_text(faults), FAULT.format(**words)),
    }


def next_free(prefix: str) -> str:
    """The number after the layer's last."""
    last = max(code for code in catalogue().codes if code.startswith(prefix))
    return f"{prefix}{int(last[3:]) + 1:03}"


def with_entry(text: str, code: str, entry: str) -> str:
    """A file of the catalogue with ``entry``, in the order of the numbers."""
    after = next((m for m in re.finditer(r"^\[([A-Z]{3}\d{3})\]$", text, re.MULTILINE) if m[1] > code), None)
    if after is None:
        return f"{text}\n{entry}"
    return f"{text[: after.start()]}{entry}\n{text[after.start() :]}"


def with_judge(text: str, name: str, judge: str) -> str:
    """A module of checks with one more, last in its CHECKS."""
    for module, imported in (
        ("collections.abc", "Iterator"),
        ("ops.diagnosis.finding", "Finding"),
        ("ops.diagnosis.finding", "check"),
        ("ops.diagnosis.finding", "quote"),
        ("ops.facts.target", "Target"),
    ):
        text = with_import(text, module, imported)
    node = _assigned(text, "CHECKS")
    assert isinstance(node.value, ast.Tuple)  # noqa: S101  it is how every module of checks ends
    names = [ast.unparse(item) for item in node.value.elts] + [name]
    lines = text.splitlines(keepends=True)
    head, tail = lines[: node.lineno - 1], lines[node.end_lineno or node.lineno :]
    target = lines[node.lineno - 1].partition("=")[0]
    return "".join([*head, judge, f"{target}= {_parenthesised(names)}\n", *tail])


def with_cases(text: str, cases: str) -> str:
    """A module of unit cases with ``cases`` at the end of its CASES."""
    for module, imported in (
        ("tests.unit.diagnosis.checks.cases", "fires"),
        ("tests.unit.diagnosis.checks.cases", "quiet"),
        ("tests.unit.made_snapshot", "HEALTHY"),
    ):
        text = with_import(text, module, imported)
    end = (_assigned(text, "CASES").end_lineno or 1) - 1
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:end], cases, *lines[end:]])


def with_fault(text: str, fault: str) -> str:
    """A module of the lab's faults with one more at its end."""
    for module, imported in (("tests.lab.faults.case", "fault"), ("tests.lab.stack", "Stack")):
        text = with_import(text, module, imported)
    return text + fault


def with_import(text: str, module: str, name: str) -> str:
    """``text`` with ``from module import name``, in ruff's order."""
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom) and not node.level]
    lines = text.splitlines(keepends=True)
    for node in imports:
        if node.module == module:
            names = {
                alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
                for alias in node.names
            }
            if name in names:
                return text
            end = node.end_lineno or node.lineno
            return "".join([*lines[: node.lineno - 1], _import(module, names | {name}), *lines[end:]])
    # Those of the same package stand together, in the order of their names.
    package = module.partition(".")[0]
    near = [node for node in imports if (node.module or "").partition(".")[0] == package] or imports
    before = [node for node in near if (node.module or "") < module]
    at = (before[-1].end_lineno or 1) if before else near[0].lineno - 1
    return "".join([*lines[:at], _import(module, {name}), *lines[at:]])


def _import(module: str, names: set[str]) -> str:
    # Constants, then classes, then functions (ruff, isort.order-by-type).
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}\n"
    if len(line) <= LINE_LENGTH + 1:
        return line
    return f"from {module} import (\n{''.join(f'    {name},{chr(10)}' for name in ordered)})\n"


def _parenthesised(names: list[str]) -> str:
    line = f"({', '.join(names)})"
    if len(line) <= LINE_LENGTH - len("CHECKS = "):
        return line
    return f"(\n{''.join(f'    {name},{chr(10)}' for name in names)})"


def _assigned(text: str, name: str) -> ast.Assign | ast.AnnAssign:
    """The statement of a module that gives ``name`` its value."""
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(
            getattr(t, "id", "") == name for t in targets
        ):
            return node
    raise NewCauseError(f"no {name} in a module that should have it")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def still_to_write(contents: dict[Path, str], code: str) -> list[str]:
    """``file:line`` of everything that is to be filled in, the first of each piece."""
    found = []
    for path, text in contents.items():
        lines = text.splitlines()
        first = next(n for n, line in enumerate(lines, 1) if code in line)
        found.append(f"{path.relative_to(ROOT)}:{first}")
    return found


def main(arguments: list[str]) -> int:
    """Lay the cause out, and say what to fill in. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/new-cause", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("code", metavar="CODE", help="three capitals of a layer and three digits: NGX020")
    parser.add_argument("--module", help="the module of ops/diagnosis/checks for the judge")
    options = parser.parse_args(arguments)
    try:
        contents = lay_out(ROOT, options.code, options.module)
    except NewCauseError as error:
        sys.stderr.write(f"scripts/new-cause: {error}\n")
        return 2
    for path, text in contents.items():
        path.write_text(text, encoding="utf-8")
    entry, judge, cases, fault = still_to_write(contents, options.code)
    sys.stdout.write(f"""{options.code} is laid out. Replace every TODO:

  {entry}
      the entry: severity, texts in English and Chinese, the command that verifies it, the steps that fix it
  {judge}
      the judge: a pure function of the snapshot's sections (ops/facts/snapshot.py); rename it
  {cases}
      unit cases: snapshots that prove it, and the nearest ones that do not
  {fault}
      the lab's fault: a function that breaks a real stack; rename it

Then:

  python -m scripts.reference                                writes docs/causes
  pytest tests/unit/diagnosis tests/unit/test_cause_pages.py
  pytest tests/lab/test_faults.py -k {options.code}

If one fault proves this cause and another, say which goes first in ops/diagnosis/catalogue/precedence.toml.
If the judge is the first to read a directive of nginx, its value must be let into bundles: JUDGED_DIRECTIVES in
ops/interpret/redaction_nginx.py, unless it can hold a secret.
""")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
