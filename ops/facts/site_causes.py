"""What was observed for the causes that the site defines itself (docs/site-causes.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.base import Facts, NotSeen


class ProofObservation(Facts, frozen=True):
    """One condition of a cause: whether it holds, where that was seen and what. ``values``: what the named groups of
    its pattern matched."""

    holds: bool
    source: str
    detail: str
    values: dict[str, str] = msgspec.field(default_factory=dict)


class SiteCause(Facts, frozen=True):
    """One cause of the site. ``definition``: its table in the file, so that a bundle is diagnosed elsewhere the same;
    ``observations``: one for each condition, in order."""

    code: str
    file: str
    definition: dict[str, Any]
    observations: tuple[ProofObservation | NotSeen, ...]


class SiteCauses(Facts, frozen=True):
    """Every cause of the site, in the order of the files' names."""

    causes: tuple[SiteCause, ...]
