"""The conditions of a site's causes, judged by what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.site_causes import (
    DEFAULT_WITHIN,
    TOO_SLOW,
    ProofDefinition,
    ProofKind,
    SiteCauseDefinition,
    log_path,
)
from ops.diagnosis.site_causes_file import defined_again
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.logs import Log, Logs
from ops.facts.site_causes import ProofObservation, SiteCause
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.timed_pattern import TimedPattern
from ops.text.sanitize import safe_line


def replayed(definition: SiteCauseDefinition, snapshot: Snapshot) -> SiteCause:
    """The conditions of ``definition`` on the host of ``snapshot``: as they were observed there if it had the same
    condition, else from its logs and processes."""
    return definition.observed([_observation(proof, snapshot) for proof in definition.proofs])


def _observation(proof: ProofDefinition, snapshot: Snapshot) -> ProofObservation | NotSeen:
    for known, observation in _recorded(snapshot):
        if known == proof:
            return observation
    try:
        if proof.kind is ProofKind.LOG:
            return _in_log(proof, snapshot)
        if proof.kind is ProofKind.PROCESS:
            return _in_processes(proof, snapshot)
    except TimeoutError:
        return TOO_SLOW
    return NotSeen(reason=f"a bundle holds no {proof.kind} that it was not made to look at")


def _recorded(snapshot: Snapshot) -> Iterator[tuple[ProofDefinition, ProofObservation | NotSeen]]:
    if isinstance(snapshot.site_causes, NotSeen):
        return
    for cause in snapshot.site_causes.causes:
        try:
            yield from zip(defined_again(cause).proofs, cause.observations, strict=False)
        except OpsError:
            continue


def _in_log(proof: ProofDefinition, snapshot: Snapshot) -> ProofObservation | NotSeen:
    path = log_path(proof, snapshot.target) if isinstance(snapshot.target, Target) else proof.log
    log = next((log for log in _logs(snapshot.logs) if log.path == path), None)
    if log is None:
        return NotSeen(reason=f"the bundle does not hold {path}")
    since = snapshot.taken_at - proof.seconds("within", DEFAULT_WITHIN)
    pattern = TimedPattern(proof.pattern or "")
    matches = [
        (entry.text, groups)
        for entry in reversed(log.entries)
        if entry.time >= since
        for line in entry.text.splitlines()
        if (groups := pattern.groups(line)) is not None
    ]
    if proof.is_present and len(matches) >= (proof.count or 1):
        text, groups = matches[0]
        return ProofObservation(holds=True, source=log.path, detail=safe_line(text), values=groups)
    if not log.complete:
        return NotSeen(reason=f"the bundle does not hold all of {path}")
    return ProofObservation(
        holds=not proof.is_present and not matches, source=log.path, detail=f"{len(matches)} lines match"
    )


def _logs(logs: Logs | NotSeen) -> Iterator[Log]:
    if isinstance(logs, NotSeen):
        return
    candidates = (*logs.nginx_errors.values(), logs.gunicorn_error, *logs.application)
    yield from (log for log in candidates if isinstance(log, Log))


def _in_processes(proof: ProofDefinition, snapshot: Snapshot) -> ProofObservation | NotSeen:
    if not isinstance(snapshot.processes, Processes):
        return snapshot.processes
    pattern = TimedPattern(proof.process or "")
    for process in snapshot.processes.processes:
        words = " ".join(process.command) or process.name
        if proof.user in (None, process.user) and (groups := pattern.groups(words)) is not None:
            detail = safe_line(f"pid {process.pid} ({process.user}): {words}")
            return ProofObservation(holds=proof.is_present, source="processes", detail=detail, values=groups)
    return NotSeen(reason="a bundle holds the processes of the web alone")
