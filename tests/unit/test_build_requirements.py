"""pip builds gte-ops in an environment with nothing but what pyproject.toml's build-system names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
# Makes the man pages where only these packages can be imported.
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in sys.argv[1:]:
            raise ModuleNotFoundError(f"{name} is not in the build's environment", name=name)

sys.path[:0] = ["scripts", "."]
sys.meta_path.insert(0, Absent())
import man_pages
print(len(man_pages.shared_files()))
"""
OWN = ("ops", "man_pages", "gte_ops")


def man_pages(*names: str) -> subprocess.CompletedProcess[str]:
    """Make the man pages with ``names`` alone beside the standard library."""
    command = [sys.executable, "-c", PROGRAM, *OWN, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_man_pages_need_only_what_the_build_requires() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    made = man_pages(*(Requirement(line).name for line in required))
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) > 10


def test_a_package_that_the_build_does_not_require_is_found() -> None:
    assert "click is not in the build's environment" in man_pages("msgspec").stderr
