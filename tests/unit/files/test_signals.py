"""A signal that ends a program in order is not lost, and one that is ignored stays ignored."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, weakref
from ops.files.signals import end_if_asked, end_in_order
number = int(sys.argv[1])
# A test run in the background, or by nohup, hands on signals that it ignores.
signal.signal(number, signal.SIG_IGN if sys.argv[2] == "ignored" else signal.SIG_DFL)
end_in_order()
class Held: pass
held = Held()
reference = weakref.ref(held, lambda _: (os.kill(os.getpid(), number), [None for _ in range(1000)]))
del held
print("goes on", flush=True)
try:
    end_if_asked()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("manner", "expected"), [("lost", 130), ("ignored", 0)])
def test_a_signal_whose_exception_python_ignores_still_ends_the_program(
    number: int, manner: str, expected: int
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(int(number)), manner], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "goes on\n", ran.stderr
    assert ran.returncode == expected, ran.stderr
