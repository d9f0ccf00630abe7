"""The remedy of each proven cause on this host: a pure function of the diagnosis and the facts.

A safe remedy changes nothing that somebody decided, and either helps or leaves things as they were. Every other one is
risky, or left to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ops.diagnosis.model import Cause
from ops.diagnosis.steps import with_settings
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.repair.model import Remedy, RepairContext
from ops.repair.plan import certificates, files, gunicorn, nginx, nginx_edits
from ops.repair.plan.case import NO_PLAN, Case
from ops.repair.plan.edits import printed
from ops.repair.plan.known_good import put_back
from ops.text.language import verbatim

PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    **nginx.PLANNERS,
    **nginx_edits.PLANNERS,
    **certificates.PLANNERS,
    **gunicorn.PLANNERS,
    **files.PLANNERS,
}

# Their own remedy loads what somebody has written, or starts what runs with it: that comes before undoing it.
_LOADS_WHAT_IS_THERE = ("GUN001", "GUN002", "GUN011", "NGX002", "NGX004", "TLS008", "TLS010")


def plan(causes: Sequence[Cause], snapshot: Snapshot, context: RepairContext) -> tuple[Remedy, ...]:
    """Plan the remedies of ``causes``, in their order. One without an automatic remedy gets one without action."""
    if not isinstance(snapshot.target, Target):
        return ()
    remedies: list[Remedy] = []
    for cause in causes:
        remedies += _remedies(Case(cause, snapshot, snapshot.target, context))
    return tuple(_with_settings(remedy, context.settings_file) for remedy in remedies)


def _remedies(case: Case) -> Sequence[Remedy]:
    """The remedies of one cause: what is known to have been good, then its own, then the edits that are printed."""
    planner = PLANNERS.get(case.cause.code)
    own = tuple(planner(case)) if planner else ()
    back = tuple(put_back(case))
    ordered = (*own, *back) if case.cause.code in _LOADS_WHAT_IS_THERE else (*back, *own)
    acting = tuple(remedy for remedy in ordered if remedy.action is not None)
    if not any(remedy.action for remedy in own):
        acting += tuple(printed(case))
    return acting or ordered or (case.by_hand(NO_PLAN),)


def _with_settings(remedy: Remedy, settings_file: str | None) -> Remedy:
    """``remedy`` with every gte-ops command made to read this host's configuration."""
    return replace(
        remedy,
        what=with_settings(remedy.what, settings_file),
        commands=tuple(with_settings(verbatim(words), settings_file).en for words in remedy.commands),
        settings_file=settings_file,
    )
