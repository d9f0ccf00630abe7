"""Where only the client is installed (docs/client.md), the two programs say in one line what they miss."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMS = {"gte-ops": "gte_ops:main", "gte-api": "service.cli:run"}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("package", ["click", "click.core"])
def test_a_missing_package_is_one_line_and_no_traceback(program: str, package: str) -> None:
    module, _, function = PROGRAMS[program].partition(":")
    code = f"import sys; sys.modules[{package!r}] = None; from {module} import {function}; {function}()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[0].startswith(f"{program}: click is not installed: pip install ")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_module_of_our_own_that_is_missing_is_a_defect_and_shown_as_one(program: str) -> None:
    module, _, function = PROGRAMS[program].partition(":")
    own = {"gte-ops": "ops.errors", "gte-api": "service.settings"}[program]
    code = f"import sys; sys.modules[{own!r}] = None; from {module} import {function}; {function}()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
