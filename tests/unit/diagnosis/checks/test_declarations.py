"""What a check says of itself is so: its inputs, its codes; and each code has its cases."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.finding import Check, NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case
from tests.unit.made_snapshot import HEALTHY, but

JUDGED = sorted({code for check in CHECKS for code in check.codes})
CASES: list[Case] = [
    case
    for module in sorted(Path(__file__).parent.glob("test_*.py"))
    if module.stem != Path(__file__).stem
    for case in importlib.import_module(f"tests.unit.diagnosis.checks.{module.stem}").CASES
]


def yielded(check: Check) -> set[str]:
    """The codes in the judge's own ``Finding(...)`` calls; without any, in those of the functions beside it that it
    calls."""
    own = _calls(check.judge)
    calls = own.get("Finding", [])
    if not calls:
        beside = inspect.unwrap(check.judge).__globals__
        named = [beside[name] for name in own if inspect.isfunction(beside.get(name))]
        calls = [call for function in named for call in _calls(function).get("Finding", [])]
    assert calls
    assert all(isinstance(call.args[0], ast.Constant) for call in calls)
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}  # type: ignore[misc]


def _calls(function: Callable[..., object]) -> dict[str, list[ast.Call]]:
    """The calls in a function's source, by the name that is called."""
    calls: dict[str, list[ast.Call]] = {}
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            calls.setdefault(node.func.id, []).append(node)
    return calls


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_declared_codes_are_those_the_judge_can_yield(check: Check) -> None:
    assert set(check.codes) == yielded(check)
    assert set(check.codes) <= set(catalogue().codes)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_inputs_are_sections_of_the_snapshot(check: Check) -> None:
    assert {*check.needs, *check.optional_inputs} <= set(Snapshot.__struct_fields__)
    assert check.needs, "a check that needs nothing judges nothing"
    hints = get_type_hints(check.judge)
    assert set(check.optional_inputs) == {n for n in hints if n != "return" and NotSeen in get_args(hints[n])}
    assert check.title.en
    assert check.title.zh != check.title.en


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_nothing_of_a_judge_is_still_to_be_written(check: Check) -> None:
    # What scripts/new-cause lays out: its words, and a code for a name.
    assert "TODO" not in inspect.getsource(check.judge)
    assert check.id.partition(".")[2].upper() not in check.codes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_of_a_case_is_still_to_be_written(case: Case) -> None:
    assert "TODO" not in case.why


def test_ids_are_unique_and_begin_with_their_layer() -> None:
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
    for check in CHECKS:
        layer, module = check.id.partition(".")[0], check.judge.__module__.rpartition(".")[2]
        # The safeguards' ids are older than their module's name, and public.
        named = {"safeguards": "ops", "safeguards_units": "ops"}.get(module, module)
        assert layer == named or module.startswith(f"{layer}_")


def test_each_code_belongs_to_one_check() -> None:
    declared = [code for check in CHECKS for code in check.codes]
    assert sorted(declared) == JUDGED


@pytest.mark.parametrize("code", JUDGED)
def test_every_code_has_a_case_that_fires_and_one_that_must_not(code: str) -> None:
    assert {case.proven for case in CASES if case.code == code} == {True, False}


def test_no_two_cases_are_called_the_same() -> None:
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_judge_bears_whatever_it_welcomes_unseen(check: Check) -> None:
    snapshots = [HEALTHY, *(case.snapshot for case in CASES if case.code in check.codes)]
    complete = [
        s for s in snapshots if not any(isinstance(getattr(s, name), NotSeen) for name in check.needs)
    ]
    for snapshot in complete:
        for name in check.optional_inputs:
            with contextlib.suppress(NotJudgedError):
                list(check.judge(**check.inputs(but(snapshot, **{name: NotSeen(reason="-")}))))
