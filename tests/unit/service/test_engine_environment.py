"""What the engines' processes read when they start does not depend on what the service inherits."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json
from pathlib import Path
from service.engines.gte.engine import GteLaunch
print(json.dumps(GteLaunch(Path("/none"), "auto", 2).forkserver().environment))
"""


@pytest.mark.parametrize("inherited", [{}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinity"}])
def test_threads_of_an_engine_do_not_spin_whatever_is_inherited(inherited: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **inherited}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    environment = json.loads(ran.stdout)
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")
    # Before the fork there may be one thread only.
    assert environment["OMP_NUM_THREADS"] == "1"
