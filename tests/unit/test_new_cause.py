"""scripts/new-cause lays out a cause whose tests fail until it is filled in, and pass then."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ops.diagnosis.catalogue import catalogue
from scripts.new_cause import PREFIXES, ROOT, NewCauseError, lay_out, main, next_free, with_import

CODE = next_free("NET")
ENTRY, JUDGE = "ops/diagnosis/catalogue/net.toml", "ops/diagnosis/checks/net.py"
CASES, FAULT = "tests/unit/diagnosis/checks/test_net.py", "tests/lab/faults/net.py"
PIECES = (ENTRY, JUDGE, CASES, FAULT)
UNIT_TESTS = (
    "tests/unit/diagnosis/test_catalogue.py",
    "tests/unit/diagnosis/checks/test_declarations.py",
    CASES,
)
LAB_TESTS = f"""
import pytest
from tests.lab.faults import CASES
from tests.lab.test_faults import test_every_cause_a_check_can_name_has_a_case

def test_the_fault_is_written():
    (case,) = [case for case in CASES if case.code == "{CODE}"]
    try:
        case.inject(None)
    except AttributeError:
        pass  # it does something to the stack, which is not there
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is needed of this tree, in which a cause may be laid out."""
    for name in ("ops", "scripts", "service", "tests/unit", "tests/lab", "tests/hosts", "docs/causes"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests/test_fault.py").write_text(LAB_TESTS)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in ``tree``, which goes before what is installed."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env=os.environ
        | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def failures(tree: Path) -> set[str]:
    """The names of the tests that fail, of those about the new cause."""
    about = f"{CODE} or proven or test_the_fault_is_written or test_every_cause_a_check_can_name_has_a_case"
    result = run(
        tree, "pytest", "-q", "-p", "no:cacheprovider", "-k", about, *UNIT_TESTS, "tests/test_fault.py"
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return set(re.findall(r"^FAILED \S+::(\w+)", result.stdout, re.MULTILINE))


def fill_in(file: Path, replacements: Mapping[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for written, instead in replacements.items():
        assert written in text, written
        text = text.replace(written, instead)
    file.write_text(text, encoding="utf-8")


def test_what_is_laid_out_fails_until_it_is_filled_in(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    result = run(tree, "scripts.new_cause", CODE)
    assert result.returncode == 0, result.stderr

    changed = {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and path.read_bytes() != before.get(path)
    }
    assert changed == set(PIECES)
    for piece in PIECES:
        number = re.search(rf"{piece}:(\d+)", result.stdout)
        assert number, result.stdout
        assert CODE in (tree / piece).read_text().splitlines()[int(number[1]) - 1]

    assert failures(tree) == {
        "test_every_text_is_in_both_languages",
        "test_nothing_of_it_is_still_to_be_written",
        "test_nothing_of_a_judge_is_still_to_be_written",
        "test_nothing_of_a_case_is_still_to_be_written",
        "test_case",
        "test_the_fault_is_written",
    }
    assert run(tree, "scripts.reference", "--check").returncode == 1

    english, _, chinese = (tree / ENTRY).read_text(encoding="utf-8").partition(f"[{CODE}.zh]")
    english = english.replace("TODO: ", "").replace('zh = "TODO"', 'zh = "步骤"')
    (tree / ENTRY).write_text(f"{english}[{CODE}.zh]{chinese.replace('TODO', '文字')}", encoding="utf-8")
    fill_in(
        tree / JUDGE,
        {
            f"net.{CODE.lower()}": "net.proven",
            'zh="TODO"': 'zh="正常"',
            'target.domain == "TODO"': 'target.domain == "broken.example"',
            "TODO: ": "",
        },
    )
    fill_in(
        tree / CASES,
        {'"TODO: the fault", HEALTHY': '"broken", but(target__domain="broken.example")', "TODO: ": ""},
    )
    fill_in(tree / FAULT, {f'raise NotImplementedError("{CODE}: TODO")': "stack.kill_nginx()"})
    assert failures(tree) == set()
    assert run(tree, "scripts.reference").returncode == 0
    assert f"## {CODE}" in (tree / "docs/causes/net.md").read_text(encoding="utf-8")
    assert run(tree, "scripts.reference", "--check").returncode == 0


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_layer_has_a_place_for_one_more(prefix: str) -> None:
    code = next_free(prefix)
    contents = lay_out(ROOT, code)
    assert len(contents) == 4
    for path, text in contents.items():
        assert path.exists()
        assert code in text
        # Nothing that was there is lost, and Python is still Python.
        assert len(text) > len(path.read_text(encoding="utf-8"))
        if path.suffix == ".py":
            ast.parse(text)


def test_a_code_in_a_gap_goes_to_its_place() -> None:
    text = lay_out(ROOT, "NGX000")[ROOT / "ops/diagnosis/catalogue/nginx.toml"]
    assert text.index("[NGX000]") < text.index("[NGX001]")


def test_the_judge_goes_to_the_module_that_is_named() -> None:
    contents = lay_out(ROOT, next_free("NGX"), "nginx_running")
    names = {path.name for path in contents}
    assert names == {"nginx.toml", "nginx_running.py", "test_nginx_running.py", "nginx.py"}


@pytest.mark.parametrize(
    ("code", "module", "said"),
    [
        ("GUN001", None, "GUN001 is taken"),
        ("XYZ001", None, "no layer is called XYZ; there are DNS, NET"),
        ("gun099", None, "three capitals and three digits"),
        ("GUN99", None, "three capitals and three digits"),
        ("NGX000", "tls", "is in nginx.py or nginx_"),
        ("NGX000", "nginx_no_such", "there is no such file"),
    ],
)
def test_what_cannot_be_laid_out_is_refused_in_one_line(
    code: str, module: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NewCauseError, match=said):
        lay_out(ROOT, code, module)
    assert main([code, *(["--module", module] if module else [])]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert len(catalogue().codes) == len(set(catalogue().codes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from a.b import C\n", "from a.b import C, d\n"),
        ("from a.b import (\n    C,\n    e,\n)\n", "from a.b import C, d, e\n"),
        (
            "from a.a import x\nfrom a.c import y\n",
            "from a.a import x\nfrom a.b import d\nfrom a.c import y\n",
        ),
        ("from a.c import y\n", "from a.b import d\nfrom a.c import y\n"),
        ("import os\n\nfrom a.b import d\n", "import os\n\nfrom a.b import d\n"),
    ],
)
def test_an_import_is_added_in_order_once(text: str, expected: str) -> None:
    assert with_import(text, "a.b", "d") == expected
