"""`gte-ops doctor --fix`: diagnose --> plan --> show --> ask --> apply --> diagnose again --> report."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ops.diagnosis.model import Diagnosis
from ops.doctor import Examination
from ops.files.host_lock import HostLock, HostLockedError, only_change
from ops.files.signals import end_in_order
from ops.repair.apply import Applier
from ops.repair.apply.session import RepairSession
from ops.repair.audit_log import AuditLog, AuditStep, UnfinishedRemedy, audit_log_path, unfinished
from ops.repair.context import gather
from ops.repair.model import ExchangeFiles, Outcome, Remedy, RemedyResult, Repair, Safety, helps
from ops.repair.plan import plan
from ops.repair.watchdog_hold import WatchdogHold, hold_watchdog
from ops.settings import Settings
from ops.text.language import Text

NOT_ASKED = Text(
    en="risky: only --fix=risky does it",
    zh="有风险：只有 --fix=risky 才会执行",
)

GONE = Text(en="its cause has gone with an earlier repair", zh="原因已随之前的修复消失")
GONE_MEANWHILE = Text(
    en="its cause has gone while you were asked: another gte-ops command changed this host",
    zh="询问期间原因已消失：另一个 gte-ops 命令改动了本机",
)
# How often what a repair has brought to light is repaired in turn.
MAX_ROUNDS = 3


def repair(
    settings: Settings,
    settings_path: Path | None,
    level: Safety,
    look: Callable[[float | None], Examination],
    reread: Callable[[], Settings],
    *,
    show: Callable[[Diagnosis, tuple[Remedy, ...], UnfinishedRemedy | None], None],
    ask: Callable[[Remedy], bool] | None,
    tell: Callable[[Text], None],
) -> Repair:
    """Repair what the doctor finds. ``look`` diagnoses, with logs counting so many seconds back (None: as the run was
    told); ``reread`` reads the settings again, which a repair may have changed; ``show`` gets the plan, and what an
    earlier run left half done, before anything is changed.

    ``level``: "safe" leaves risky remedies alone. ``ask`` decides on each remedy; None: nothing is changed at all.
    What a repair brings to light is repaired too, in at most `MAX_ROUNDS` rounds.
    Raises OpsError if the audit log cannot be written: then nothing is changed."""
    examination = look(None)
    first = examination.diagnosis
    context = gather(settings, settings_path, examination.snapshot, first)
    remedies = plan(first.causes, examination.snapshot, context)
    log_path = audit_log_path(settings)
    show(first, remedies, unfinished(log_path))
    if ask is None or not any(helps(remedy, level) for remedy in remedies):
        not_applied = tuple(_not_applied(remedy, level) for remedy in remedies)
        return Repair(level, first, not_applied, first, None)
    end_in_order()
    with only_change() as lock, AuditLog(log_path) as audit_log, contextlib.ExitStack() as stack:
        audit_log.note(
            AuditStep.DIAGNOSED, status=first.status, causes=[cause.code for cause in first.causes]
        )
        holds: list[WatchdogHold] = []

        def hold() -> WatchdogHold:
            # Once: from the first process that is touched until the last diagnosis.
            if not holds:
                holds.append(stack.enter_context(hold_watchdog(settings)))
            return holds[0]

        diagnoses = [first]
        session = RepairSession(
            settings, settings_path, audit_log, hold, tell, lambda since: look(since).diagnosis, diagnoses
        )

        def next_round(results: Sequence[RemedyResult]) -> tuple[RepairSession, tuple[Remedy, ...]]:
            tell(Text(en="diagnosing again", zh="正在重新诊断"))
            examination = look(None)
            diagnoses.append(examination.diagnosis)
            handled_codes = {r.remedy.cause.code for r in results if r.outcome is not Outcome.NOT_NEEDED}
            fresh = [cause for cause in diagnoses[-1].causes if cause.code not in handled_codes]
            again = replace(session, settings=reread())
            context = gather(again.settings, settings_path, examination.snapshot, diagnoses[-1])
            return again, plan(fresh, examination.snapshot, context)

        results = _rounds(
            session,
            remedies,
            level,
            ask,
            lock,
            next_round,
            lambda remedies: show(diagnoses[-1], remedies, None),
        )
        repaired = Repair(level, first, tuple(results), diagnoses[-1], str(log_path))
        _note_result(repaired, audit_log)
        return repaired


def _rounds(
    session: RepairSession,
    remedies: Sequence[Remedy],
    level: Safety,
    ask: Callable[[Remedy], bool],
    lock: HostLock,
    next_round: Callable[[Sequence[RemedyResult]], tuple[RepairSession, tuple[Remedy, ...]]],
    show: Callable[[tuple[Remedy, ...]], None],
) -> list[RemedyResult]:
    """Apply ``remedies``, then those of what ``next_round`` finds by another diagnosis, until nothing was attempted,
    nothing more helps, or the rounds are used up. Returns what became of each, in order."""
    results: list[RemedyResult] = []
    for _ in range(MAX_ROUNDS):
        applier = Applier(session)
        outcomes: list[RemedyResult] = []
        for remedy in remedies:
            outcomes.append(_carry_out(remedy, level, ask, lock, applier, session, outcomes))
        results += outcomes
        if not any(result.outcome.is_attempt for result in outcomes):
            break
        session, remedies = next_round(results)
        if not any(helps(remedy, level) for remedy in remedies):
            break
        show(tuple(remedies))
    return results


def _note_result(repaired: Repair, audit_log: AuditLog) -> None:
    if repaired.acted:
        audit_log.note(
            AuditStep.VERIFIED,
            status=repaired.last.status,
            fixed=list(repaired.fixed),
            not_fixed=list(repaired.not_fixed),
            remaining=list(repaired.remaining),
            new=list(repaired.new),
        )


def _carry_out(
    remedy: Remedy,
    level: Safety,
    ask: Callable[[Remedy], bool],
    lock: HostLock,
    applier: Applier,
    session: RepairSession,
    earlier: Sequence[RemedyResult],
) -> RemedyResult:
    if not helps(remedy, level):
        return _not_applied(remedy, level)
    # Files are exchanged in place of another remedy of the same cause, and not after it.
    is_alternative = isinstance(remedy.action, ExchangeFiles)
    applied = {result.remedy.cause.code for result in earlier if result.outcome is Outcome.APPLIED}
    if _is_gone(remedy, session) or (is_alternative and remedy.cause.code in applied):
        return RemedyResult(remedy, Outcome.NOT_NEEDED, GONE)
    try:
        if not lock.agreed(lambda: ask(remedy)):
            return RemedyResult(remedy, Outcome.DECLINED)
    except HostLockedError as locked:
        return RemedyResult(remedy, Outcome.BLOCKED, locked.words)
    if lock.was_taken:
        session.diagnoses.append(session.look(None))
        if _is_gone(remedy, session):
            return RemedyResult(remedy, Outcome.NOT_NEEDED, GONE_MEANWHILE)
    return applier.apply(remedy)


def _is_gone(remedy: Remedy, session: RepairSession) -> bool:
    return remedy.cause.code not in {cause.code for cause in session.latest().causes}


def _not_applied(remedy: Remedy, level: Safety) -> RemedyResult:
    if remedy.action is not None and remedy.safety is Safety.RISKY and level is Safety.SAFE:
        return RemedyResult(remedy, Outcome.BLOCKED, NOT_ASKED)
    return RemedyResult(remedy, Outcome.SHOWN)


def command_to_apply(settings_path: str | None, level: Safety) -> str:
    """The command that applies what was only shown."""
    config_option = f" --config {shlex.quote(settings_path)}" if settings_path else ""
    return f"gte-ops doctor{config_option} --fix{'=risky' if level is Safety.RISKY else ''} --yes"
