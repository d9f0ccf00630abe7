"""How property tests run: quickly by default, at length with ``--hypothesis-profile=long``."""

from hypothesis import settings

# No deadline for a single example: a busy machine is no defect.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile("quick")
