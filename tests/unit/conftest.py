"""How property tests run: quickly by default, at length with ``--hypothesis-profile=long``."""

import pytest
from hypothesis import settings

# So that an assertion in it says what it found.
pytest.register_assert_rewrite("tests.unit.diagnosis.checks.cases")

# No deadline for a single example: a busy machine is no defect.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile("quick")
