"""What every fact is, and what was not seen."""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything observed."""


class NotSeen(Facts, frozen=True):
    """Something that could not be observed, and why. ``needs_root``: root would have seen it; ``is_refused``: it could
    have been, and was not, because of whose word it is."""

    reason: str
    needs_root: bool = False
    is_refused: bool = False
