"""scripts/demo runs in an environment of its own, made of one extra: nothing it imports may come from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
IMPORTED = """
import json, sys
before = set(sys.modules)
import tests.lab.demo
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required_by(name: str, extra: str) -> list[str]:
    """What a distribution asks for with one of its extras; without any where ``extra`` is empty."""
    if name == PROJECT["name"]:  # as it is written now, not as it was when somebody installed it
        needed: list[str] = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
        return needed
    lines = ((line, Requirement(line).marker) for line in requires(name) or ())
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
