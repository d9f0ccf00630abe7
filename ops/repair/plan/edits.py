"""Remedies that edit files and need no past: tested, loaded, and undone if the cause stays. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from ops.repair.model import ExchangeFiles, FileEdit, Remedy, Replacement, Safety
from ops.repair.plan.case import NO_PLAN, Case, not_edited
from ops.repair.plan.known_good import replacement_lines
from ops.text.language import Text

_EDITED = Text(en="the edited file", zh="修改后的文件")
_PRINTED = Text(
    en="it follows the printed steps; what is meant may be another thing",
    zh="按打印的步骤修改，未必符合本意",
)


def exchange(
    case: Case, edits: Sequence[FileEdit], what: Text, risk: Text | None, *, gunicorn: bool = False
) -> Remedy:
    """The remedy that exchanges the files of ``edits`` (real paths). ``gunicorn``: it reads them, and not nginx."""
    files = []
    for edit in edits:
        entry = case.context.entries.get(edit.path)
        if entry is None:
            return case.by_hand(NO_PLAN)
        digest = hashlib.sha256(edit.after).hexdigest()
        entry = replace(entry, size=len(edit.after), sha256=digest)
        files.append(Replacement(edit.path, entry, edit.after, _EDITED, edit.before))
    return exchange_files(case, tuple(files), what, risk, gunicorn=gunicorn)


def exchange_files(
    case: Case, files: tuple[Replacement, ...], what: Text, risk: Text | None, *, gunicorn: bool = False
) -> Remedy:
    """The remedy that exchanges ``files``."""
    lines = [line for file in files for line in replacement_lines(file)]
    reasons = case.context.not_edited
    why = next(
        (
            reasons[name]
            for name, real in case.context.real.items()
            if name in reasons and any(file.path == real for file in files)
        ),
        None,
    )
    if not files or why is not None:
        return case.by_hand(not_edited(why) if why else NO_PLAN, lines)
    if not gunicorn and case.untested is not None:
        return case.by_hand(case.untested, lines)
    is_served = case.cause.severity != "fail"
    action = ExchangeFiles(files, nginx=not gunicorn, gunicorn=gunicorn, interrupts=is_served)
    load = case.target.reload_nginx if case.nginx else case.target.start_nginx
    commands = () if gunicorn else (case.target.test_nginx, load)
    return case.remedy(
        Safety.RISKY if risk else Safety.SAFE, action, what, risk=risk, commands=commands, diff=lines
    )


def printed(case: Case) -> Iterator[Remedy]:
    """The edits that the cause's printed fix consists of; none if it has others."""
    edits = case.context.printed.get(case.cause.code, ())
    if not edits:
        return
    config = case.target.gunicorn_config_file
    own = [edit for edit in edits if config is not None and edit.path == case.context.real.get(config)]
    if own and len(own) < len(edits):
        return
    paths = ", ".join(edit.path for edit in edits)
    yield exchange(
        case,
        edits,
        Text(
            en=f"edit {paths} as the fix says, test it and load it; undo it if that does not help",
            zh=f"按修复步骤修改 {paths}，检验后加载；没有效果就撤销",
        ),
        _PRINTED,
        gunicorn=bool(own),
    )
