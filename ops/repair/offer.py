"""Print `gte-ops doctor --fix` as the fix of a cause for which it has a remedy, and the steps by hand are advice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from ops.diagnosis.catalogue import is_command
from ops.diagnosis.model import Cause, Diagnosis
from ops.diagnosis.steps import with_settings
from ops.doctor import Examination
from ops.facts.target import Target
from ops.repair.context import gather
from ops.repair.model import (
    ChangeMode,
    EditGunicorn,
    EditNginx,
    EndWorker,
    ExchangeFiles,
    InstallRotation,
    MendPidfile,
    Remedy,
    Safety,
)
from ops.repair.plan import plan
from ops.repair.printed_edits import loading_commands
from ops.settings import Settings
from ops.text.language import Text, verbatim

# Remedies that change what a person would otherwise edit. A start, a restart or a reload is printed as it is typed.
# A worker that a person ends is not told from one that crashed (GUN014): the repair records that it was meant.
_OFFERED = (ChangeMode, EditGunicorn, EditNginx, EndWorker, ExchangeFiles, InstallRotation, MendPidfile)
# Commands that only show something, or that an authority elsewhere may refuse.
_LOOKING = (
    "ls ",
    "sed -n ",
    "tail ",
    "cat ",
    "ps ",
    "py-spy ",
    "journalctl ",
    "gte-ops doctor ",
    "gte-ops backup list",
    "certbot ",
)
_ENDS_A_WORKER = "kill -9 "
_UNDONE = Text(en="undone if that does not help", zh="没有效果就撤销")


def with_repairs(examination: Examination, settings: Settings, settings_path: Path | None) -> Diagnosis:
    """The diagnosis; a cause whose printed fix leaves the change to a person gets the command that makes it, if
    `doctor --fix` has a remedy that changes files."""
    diagnosis, target = examination.diagnosis, examination.snapshot.target
    if not isinstance(target, Target):
        return diagnosis
    open_causes = [cause for cause in diagnosis.causes if leaves_it_to_a_person(cause, target)]
    if not open_causes:
        return diagnosis
    context = gather(settings, settings_path, examination.snapshot, diagnosis)
    remedies = plan(open_causes, examination.snapshot, context)
    return replace(diagnosis, causes=offered(diagnosis.causes, remedies, context.settings_file))


def offered(
    causes: Sequence[Cause], remedies: Sequence[Remedy], settings_file: str | None
) -> tuple[Cause, ...]:
    """``causes``, each with the command of its first remedy, if that changes files."""
    first: dict[str, Remedy] = {}
    for remedy in remedies:
        if isinstance(remedy.action, _OFFERED):
            first.setdefault(remedy.cause.code, remedy)
    return tuple(
        replace(cause, fix=_offer(first[cause.code], settings_file)) if cause.code in first else cause
        for cause in causes
    )


def leaves_it_to_a_person(cause: Cause, target: Target) -> bool:
    """Whether no command of the fix changes anything on this host alone, beside loading what was changed."""
    loading = loading_commands(target)
    *steps, _ = cause.fix
    return any(not is_command(step) for step in steps) and not any(
        is_command(step) and step.en not in loading and not step.en.startswith((*_LOOKING, _ENDS_A_WORKER))
        for step in steps
    )


def _offer(remedy: Remedy, settings_file: str | None) -> tuple[Text, ...]:
    """What the repair does, its command, the steps by hand in one sentence, and the command that confirms."""
    cause = remedy.cause
    *steps, confirm = cause.fix
    level = "=risky" if remedy.safety is Safety.RISKY else ""
    command = verbatim(f"gte-ops doctor --only {cause.code} --fix{level} --yes")
    undone = _UNDONE if isinstance(remedy.action, ExchangeFiles) else None
    caution = [words for words in (remedy.risk, undone) if words is not None]
    en, zh = "; ".join(words.en for words in caution), "；".join(words.to("zh") for words in caution)
    return (
        Text(
            en=f"gte-ops does it{f' ({en})' if en else ''}: {remedy.what.en}",
            zh=f"gte-ops 可以执行{f'（{zh}）' if zh else ''}：{remedy.what.to('zh')}",
        ),
        with_settings(command, settings_file),
        _by_hand(steps),
        confirm,
    )


def _by_hand(steps: Sequence[Text]) -> Text:
    commands = [step.en for step in steps if is_command(step)]
    advice = [step for step in steps if not is_command(step)]
    then_en, then_zh = (
        ("; then " + " && ".join(commands), "；然后 " + " && ".join(commands)) if commands else ("", "")
    )
    return Text(
        en=f"Or by hand: {'; '.join(step.en.rstrip('.:') for step in advice)}{then_en}",
        zh=f"或者手动：{'；'.join(step.to('zh').rstrip('。：') for step in advice)}{then_zh}",
    )
