"""What a case of a judge is: a snapshot, and a code that it must or must not prove."""

from __future__ import annotations

from dataclasses import dataclass

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import run_checks
from ops.diagnosis.finding import Finding
from ops.facts.snapshot import Snapshot
from ops.text.language import Text


@dataclass(frozen=True)
class Case:
    """``code`` stands (``proven``) or does not stand among the findings from ``snapshot``. ``severity``, ``facts`` and
    ``quotes`` (words that stand in its evidence) are looked at where they are given."""

    code: str
    why: str
    snapshot: Snapshot
    proven: bool
    severity: str | None = None
    facts: dict[str, str] | None = None
    quotes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code} {'' if self.proven else 'not '}{self.why}"


def fires(
    code: str,
    why: str,
    snapshot: Snapshot,
    *quotes: str,
    severity: str | None = None,
    facts: dict[str, str] | None = None,
) -> Case:
    """``code`` is proven here."""
    return Case(code, why, snapshot, True, severity, facts, quotes)


def quiet(code: str, why: str, snapshot: Snapshot) -> Case:
    """``code`` is not proven here."""
    return Case(code, why, snapshot, False)


def found(snapshot: Snapshot) -> dict[str, Finding]:
    """Every finding from ``snapshot``, by code. No judge crashes over it."""
    results, findings = run_checks(snapshot, CHECKS, catalogue())
    crashed = {r.id: r.skipped_because for r in results if r.status == "error"}
    assert not crashed
    return {finding.code: finding for finding in findings}


def hold(case: Case) -> None:
    """Assert what ``case`` says."""
    findings = found(case.snapshot)
    if not case.proven:
        assert case.code not in findings, findings[case.code]
        return
    assert case.code in findings, f"found {sorted(findings)} only"
    finding, entry = findings[case.code], catalogue().entry(case.code)
    assert finding.evidence, "no proof, no cause"
    assert set(entry.facts) <= set(finding.facts), "the catalogue's sentence would have holes"
    if case.severity is not None:
        assert (finding.severity or entry.severity) == case.severity
    if case.facts is not None:
        assert {name: _english(finding.facts.get(name)) for name in case.facts} == case.facts
    proofs = " | ".join(f"{e.source} {e.detail.en}" for e in finding.evidence)
    for words in case.quotes:
        assert words in proofs


def _english(value: str | Text | None) -> str | None:
    return value.en if isinstance(value, Text) else value
