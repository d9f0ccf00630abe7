"""`gte-ops doctor --fix`: diagnose --> plan --> show --> ask --> apply --> diagnose again --> report."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ops.diagnosis.model import Diagnosis
from ops.doctor import Examination
from ops.files.signals import end_in_order
from ops.repair.apply import Applier
from ops.repair.audit_log import AuditLog, record_path
from ops.repair.context import gather
from ops.repair.model import Remedy, Repair, Safety, Treated
from ops.repair.plan import plan
from ops.repair.watchdog_hold import WatchdogHold, truce
from ops.settings import Settings
from ops.text.language import Text

NOT_ASKED = Text(
    en="risky: only --fix=risky does it",
    zh="有风险：只有 --fix=risky 才会执行",
)


def repair(
    settings: Settings,
    settings_path: Path | None,
    level: Safety,
    look: Callable[[], Examination],
    *,
    show: Callable[[Diagnosis, tuple[Remedy, ...]], None],
    ask: Callable[[Remedy], bool] | None,
    tell: Callable[[Text], None],
) -> Repair:
    """Mend what is found. ``look`` diagnoses; ``show`` gets the plan before anything is done.

    ``level``: "safe" leaves risky remedies alone. ``ask`` decides on each remedy; None: nothing is done at all.
    Raises OpsError where the record cannot be written: then nothing is done."""
    examined = look()
    first = examined.diagnosis
    codes = {cause.code for cause in first.causes}
    remedies = plan(
        first.causes, examined.snapshot, gather(settings, settings_path, examined.snapshot, codes)
    )
    show(first, remedies)
    wanted = [remedy for remedy in remedies if _is_allowed(remedy, level)]
    if ask is None or not wanted:
        treated = tuple(Treated(remedy, *_untouched(remedy, level)) for remedy in remedies)
        return Repair(level, first, treated, first, None)
    end_in_order()
    done: list[Treated] = []
    with AuditLog(record_path(settings)) as record, contextlib.ExitStack() as held:
        record.note("diagnosed", status=first.status, causes=[cause.code for cause in first.causes])
        agreed: list[WatchdogHold] = []

        def agree() -> WatchdogHold:
            # Once: from the first process that is touched until the last diagnosis.
            if not agreed:
                agreed.append(held.enter_context(truce(settings)))
            return agreed[0]

        applier = Applier(settings, settings_path, record, agree, tell)
        for remedy in remedies:
            if not _is_allowed(remedy, level):
                done.append(Treated(remedy, *_untouched(remedy, level)))
            elif not ask(remedy):
                done.append(Treated(remedy, "declined"))
            else:
                done.append(applier.apply(remedy))
        acted = Repair(level, first, tuple(done), first, str(record.path))
        if not acted.acted:
            return acted
        tell(Text(en="diagnosing again", zh="正在重新诊断"))
        last = look().diagnosis
        found = Repair(level, first, tuple(done), last, str(record.path))
        record.note(
            "verified",
            status=last.status,
            fixed=list(found.fixed),
            remaining=list(found.remaining),
            new=list(found.new),
        )
        return found


def _is_allowed(remedy: Remedy, level: Safety) -> bool:
    return remedy.action is not None and (remedy.safety == "safe" or level == "risky")


def _untouched(remedy: Remedy, level: Safety) -> tuple[Literal["shown", "held"], Text | None]:
    if remedy.action is not None and remedy.safety == "risky" and level == "safe":
        return "held", NOT_ASKED
    return "shown", None


def again(settings_path: str | None, level: Safety) -> str:
    """The command that applies what was only shown."""
    chosen = f" --config {shlex.quote(settings_path)}" if settings_path else ""
    return f"gte-ops doctor{chosen} --fix{'=risky' if level == 'risky' else ''} --yes"
