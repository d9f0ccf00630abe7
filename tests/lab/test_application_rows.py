"""The table of what people meet with their applications names tests that there are."""

from __future__ import annotations

import subprocess
import sys

from tests.lab import application_rows
from tests.lab.stack import REPOSITORY


def test_each_row_names_tests_that_are_collected() -> None:
    ids = application_rows.ids_of_tests()
    files = sorted({name.partition("::")[0] for name in ids})
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-n", "0", *files],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    collected = set(ran.stdout.splitlines())
    assert [name for name in ids if name not in collected] == [], ran.stderr


def test_no_row_is_without_a_proof() -> None:
    assert [row.what for row in application_rows.ROWS if not row.tests] == []
