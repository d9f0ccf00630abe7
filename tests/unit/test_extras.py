"""Each extra installs what the code it is for imports; the toolkit installs without the service's web half."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import ops

ROOT = Path(__file__).parent.parent.parent
# What this repository's own modules import: a library imports more where more is installed (dnspython does).
IMPORTED = """
import builtins, json
own, imported, load = {"ops", "service", "tests", "gte_progress"}, set(), builtins.__import__

def recording(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and (globals or {}).get("__name__", "").partition(".")[0] in own:
        imported.add(name.partition(".")[0])
    return load(name, globals, locals, fromlist, level)

builtins.__import__ = recording
import tests.lab.demo
print(json.dumps(sorted(imported - own)))
"""


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT_PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]


def required_by(name: str, extra: str) -> list[str]:
    """What a distribution asks for with one of its extras; without any where ``extra`` is empty."""
    if name == PROJECT["name"]:  # as it is written now, not as it was when somebody installed it
        needed: list[str] = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
        return needed
    try:
        lines = [(line, Requirement(line).marker) for line in requires(name) or ()]
    except PackageNotFoundError:  # the model's, in an environment without them
        return []
    return [line for line, marker in lines if marker is None or marker.evaluate({"extra": extra})]


def installed_for(requirement: str, seen: set[tuple[str, str]] | None = None) -> set[str]:
    """Every distribution that pip installs for ``requirement``, by canonical name."""
    seen = set() if seen is None else seen
    wanted = Requirement(requirement)
    name = canonicalize_name(wanted.name)
    for extra in ("", *wanted.extras):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in required_by(name, extra):
            installed_for(line, seen)
    return {name for name, _ in seen}


def test_what_the_demo_imports_is_what_its_extra_installs() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    distributions = packages_distributions()
    imported = {
        canonicalize_name(d) for module in json.loads(ran.stdout) for d in distributions.get(module, ())
    }
    assert "msgspec" in imported
    assert imported - installed_for("gte-ops[demo]") == set()


def imported_by(files: list[Path]) -> set[str]:
    """The distributions that these modules import anywhere, inside functions too."""
    modules: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    others = modules - sys.stdlib_module_names - {"ops", "service", "gte_progress"}
    distributions = packages_distributions()
    return {canonicalize_name(distributions.get(module, [module])[0]) for module in others}


FOR_ASSISTANTS = [ROOT / "ops" / "cli" / "mcp.py", *(ROOT / "ops" / "mcp").rglob("*.py")]
TOOLKIT = sorted({ROOT / "gte_ops.py", *(ROOT / "ops").rglob("*.py")} - {*FOR_ASSISTANTS})
ENGINES = list((ROOT / "service" / "engines").rglob("*.py"))
SERVICE = list((ROOT / "service").rglob("*.py"))
CLIENT = list((ROOT / "service" / "client").rglob("*.py"))


@pytest.mark.parametrize(
    ("files", "requirements"),
    [
        pytest.param(TOOLKIT, ["gte-ops"], id="the toolkit"),
        pytest.param(FOR_ASSISTANTS, ["gte-ops[mcp]"], id="what assistants ask"),
        pytest.param(CLIENT, ["gte-ops[client]"], id="the client, of gte-ops"),
        pytest.param(CLIENT, CLIENT_PROJECT["dependencies"], id="the client alone"),
        pytest.param(sorted({*SERVICE} - {*ENGINES}), ["gte-ops[service]"], id="the web half"),
        pytest.param(ENGINES, ["gte-ops[embedded]", "gte-ops[model]"], id="the engines"),
    ],
)
def test_what_is_imported_is_installed(files: list[Path], requirements: list[str]) -> None:
    imported = imported_by(files)
    assert imported
    assert imported - set().union(*map(installed_for, requirements)) == set()


def test_the_toolkit_installs_without_the_web_half() -> None:
    web_half = {"flask", "flask-openapi3", "gunicorn", "prometheus-client", "pydantic", "werkzeug"}
    assert installed_for("gte-ops") & web_half == set()
    for extra in ("service", "embedded", "model"):
        assert web_half <= installed_for(f"gte-ops[{extra}]"), extra


def test_the_version_is_the_same_everywhere() -> None:
    assert ops.__version__ == PROJECT["version"] == CLIENT_PROJECT["version"]
    changes = re.findall(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert changes[:2] == ["Unreleased", ops.__version__]


def test_the_lock_is_of_these_requirements_and_from_the_public_registry() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (own,) = [package for package in lock["package"] if package["name"] == PROJECT["name"]]
    locked = {
        (
            row["name"],
            frozenset(row.get("extras", ())),
            row.get("marker", ""),
            SpecifierSet(row.get("specifier", "")),
        )
        for row in own["metadata"]["requires-dist"]
    }
    groups = {"": PROJECT["dependencies"]}
    groups |= {f"extra == '{extra}'": lines for extra, lines in PROJECT["optional-dependencies"].items()}
    declared = {
        (canonicalize_name(wanted.name), frozenset(wanted.extras), marker, wanted.specifier)
        for marker, lines in groups.items()
        for wanted in map(Requirement, lines)
    }
    assert locked == declared  # else: uv lock
    assert {package["source"].get("registry") for package in lock["package"]} == {
        None,
        "https://pypi.org/simple",
    }
    for package in lock["package"]:
        for file in package.get("wheels", []):
            assert file["url"].startswith("https://files.pythonhosted.org/packages/")
            assert file["hash"].startswith("sha256:")
