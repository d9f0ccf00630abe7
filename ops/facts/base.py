"""The base class of facts, and the value for what was not seen."""

from __future__ import annotations

import msgspec

# How the reason of a NotSeen ends if the run's time was over before it was read (ops.collect.task).
UNFINISHED = "did not finish within the budget"


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything that is observed."""


class NotSeen(Facts, frozen=True):
    """Something that could not be observed, and why. ``needs_root``: root would have seen it; ``is_refused``: it was
    not read because users who are not trusted could have written it; ``is_lasting``: on this host as it is set up there
    is nothing to see, or no run can see it, so it is no gap of this run."""

    reason: str
    needs_root: bool = False
    is_refused: bool = False
    is_lasting: bool = False

    @property
    def is_unfinished(self) -> bool:
        """Whether a longer run may see it."""
        return self.reason.endswith(UNFINISHED)
