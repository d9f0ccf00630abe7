"""Judges of the service's systemd unit: why systemd does not run it, and whether it runs what is on disk."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.gunicorn_start import last_failure
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.probes import Backend
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.facts.units import Unit, Units
from ops.interpret.units import (
    UnitFault,
    last_words,
    missing_environment_file,
    start_obstacle,
    state_words,
    unit_fault,
)
from ops.text.language import Text, verbatim


@check(
    "gunicorn.unit",
    "GUN030",
    "GUN031",
    "GUN032",
    "GUN033",
    "GUN034",
    "GUN035",
    "GUN036",
    "GUN037",
    en="systemd can run the service's unit",
    zh="systemd 能够运行服务的 unit",
)
def unit(
    units: Units,
    target: Target,
    backend: Backend,
    processes: Processes,
    logs: Logs | NotSeen,
    last_start: LastStart | NotSeen,
) -> Iterator[Finding]:
    """GUN030 to GUN037: no gunicorn of the service runs, and systemd says why it does not run its unit.

    If the words of the last start name a defect, they say more than that the start limit is reached (GUN032) or that
    the unit fails (GUN037)."""
    own = units.unit(units.service)
    if own is None or target.gunicorn_master is not None or backend.connection.failure is None:
        return
    _refuse_unread(own)
    match fault := unit_fault(own):
        case UnitFault.START_LIMIT if _is_explained(target, processes, logs, last_start, mended=True):
            return
        case UnitFault.RESTARTING | UnitFault.FAILED if _is_explained(target, processes, logs, last_start):
            return
        case UnitFault():
            yield from _of_fault(fault, own)


def _refuse_unread(own: Unit) -> None:
    """Raises NotJudgedError if it is not known whether a unit that systemd does not have was there."""
    if own.load == "not-found" and own.unread:
        raise NotJudgedError(NotSeen(reason=own.unread))


def _of_fault(fault: UnitFault, own: Unit) -> Iterator[Finding]:
    name = shlex.quote(own.name)
    evidence = unit_evidence(own)
    facts: dict[str, str | Text] = {"unit": own.name}
    start = (verbatim(f"systemctl reset-failed {name}"), verbatim(f"systemctl start {name}"))
    match fault:
        case UnitFault.MISSING | UnitFault.UNREADABLE:
            yield Finding(
                "GUN030",
                evidence,
                facts | {"reason": own.load_error or "the unit file is gone"},
                summary=None if fault is UnitFault.MISSING else _unreadable(own),
                fix=None if fault is UnitFault.MISSING else _to_verify(own, start),
                kind=fault,
            )
        case UnitFault.MASKED:
            yield Finding("GUN031", evidence, facts, kind=fault)
        case UnitFault.PROGRAM:
            program = own.program or "?"
            reason = own.program_error or last_words(own) or "exit code 203"
            yield Finding(
                "GUN033",
                evidence,
                facts | {"program": program, "reason": reason},
                fix=(verbatim(f"ls -l {shlex.quote(program)}"), _edit(own, "ExecStart="), *start),
                kind=fault,
            )
        case UnitFault.DIRECTORY:
            reason = own.directory_error or last_words(own) or "exit code 200"
            yield Finding(
                "GUN034", evidence, facts | {"directory": own.directory or "?", "reason": reason}, kind=fault
            )
        case UnitFault.ACCOUNT:
            account = own.account_error or f"{own.user or '?'}:{own.group or '-'}"
            yield Finding(
                "GUN035", evidence, facts | {"account": account, "user": own.user or own.group}, kind=fault
            )
        case UnitFault.ENVIRONMENT_FILE:
            file = missing_environment_file(own)
            path, reason = (file.path, file.error) if file else ("?", "?")
            yield Finding("GUN036", evidence, facts | {"file": path, "reason": reason}, kind=fault)
        case UnitFault.START_LIMIT:
            yield Finding("GUN032", evidence, facts, kind=fault)
        case UnitFault.RESTARTING | UnitFault.FAILED:
            yield Finding(
                "GUN037",
                evidence,
                facts | {"state": state_words(own), "words": last_words(own) or "-"},
                kind=fault,
            )


def unit_evidence(unit: Unit) -> tuple[Evidence, ...]:
    """The unit's state in systemd's words, what still names it, and the last line of its journal."""
    evidence = [quote(f"systemctl show {unit.name}", state_words(unit))]
    if unit.load_error and unit.load != "not-found":
        evidence.append(quote(f"systemctl show {unit.name}", unit.load_error))
    evidence += [Evidence(path, Text(en="still names it", zh="仍然指向它")) for path in unit.references[:3]]
    for reason, source in (
        (unit.program_error, unit.program),
        (unit.directory_error, unit.directory),
        (unit.account_error, unit.file),
    ):
        if reason:
            evidence.append(quote(source or unit.name, reason))
    evidence += [quote(file.path, file.error) for file in unit.environment_files if file.error][:3]
    if words := last_words(unit):
        evidence.append(quote(f"journalctl -u {unit.name}", words))
    return tuple(evidence)


def _is_explained(
    target: Target,
    processes: Processes,
    logs: Logs | NotSeen,
    last_start: LastStart | NotSeen,
    *,
    mended: bool = False,
) -> bool:
    """Whether the words of the last start name a defect. ``mended``: what systemd itself would complain of is in order
    now, whatever the words say."""
    failure = last_failure(target, processes, logs, last_start)
    if failure is None:
        return False
    from ops.interpret.start_failure.kind import SYSTEMD_S, VAGUE

    return failure.kind not in VAGUE and not (mended and failure.kind in SYSTEMD_S)


def _unreadable(unit: Unit) -> Text:
    reason = unit.load_error or unit.load
    return Text(
        en=f"systemd cannot read {unit.name} ({unit.file or 'its file'}): {reason}",
        zh=f"systemd 无法读取 {unit.name}（{unit.file or '其 unit 文件'}）：{reason}",
    )


def _to_verify(unit: Unit, start: tuple[Text, ...]) -> tuple[str | Text, ...]:
    file = shlex.quote(unit.file or unit.name)
    return (
        verbatim(f"systemd-analyze verify {file}"),
        Text(
            en=f"Correct the line that it names in {unit.file or unit.name}",
            zh=f"改正它在 {unit.file or unit.name} 中指出的那一行",
        ),
        verbatim("systemctl daemon-reload"),
        *start,
    )


def _edit(unit: Unit, setting: str) -> Text:
    places = ", ".join((unit.file, *unit.drop_ins)) if unit.file else unit.name
    return Text(
        en=f"Correct {setting} in {places} (systemctl edit --full {unit.name})",
        zh=f"改正 {places} 中的 {setting}（systemctl edit --full {unit.name}）",
    )


@check(
    "gunicorn.unit_reload",
    "GUN038",
    en="systemd runs the service's unit as it is on disk",
    zh="systemd 使用的是磁盘上当前的服务 unit",
)
def unit_reload(units: Units, target: Target, backend: Backend) -> Iterator[Finding]:
    """GUN038: the unit's file or a drop-in has changed since systemd read it (NeedDaemonReload). A failure only while
    the service is down: what was mended is not in force."""
    own = units.unit(units.service)
    if own is None or not own.needs_reload or own.load != "loaded":
        return
    is_down = target.gunicorn_master is None and backend.connection.failure is not None
    files = ", ".join((own.file, *own.drop_ins)) if own.file else own.name
    yield Finding(
        "GUN038",
        (quote(f"systemctl show {own.name}", "NeedDaemonReload=yes"), quote(files, state_words(own))),
        {"unit": own.name, "files": files},
        severity=Severity.FAIL if is_down else Severity.WARN,
        explains=None if is_down else (),
    )


@check(
    "gunicorn.unit_start",
    "GUN018",
    "GUN030",
    "GUN031",
    "GUN032",
    "GUN033",
    "GUN034",
    "GUN035",
    "GUN036",
    "GUN037",
    en="systemd can start the service's unit",
    zh="systemd 能够启动服务的 unit",
)
def unit_start(units: Units) -> Iterator[Finding]:
    """What keeps systemd from starting the unit, whether it runs or has never run: GUN030 to GUN037, and GUN018 for a
    log that the unit's user may not write, without which gunicorn does not start."""
    own = units.unit(units.service)
    if own is None:
        return
    _refuse_unread(own)
    if (fault := start_obstacle(own) or unit_fault(own)) is not None:
        yield from _of_fault(fault, own)
    if own.log_error:
        yield Finding(
            "GUN018",
            (quote(own.log, own.log_error), quote(own.file or own.name, f"User={own.user}")),
            {"why": own.log_error, "pid": "-"},
            severity=Severity.FAIL,
            summary=Text(
                en=f"{own.name} cannot open its log {own.log}: {own.log_error}.",
                zh=f"{own.name} 无法打开自己的日志 {own.log}：{own.log_error}。",
            ),
            verify=f"namei -l {shlex.quote(own.log)}",
            fix=(
                f"install -d -o {shlex.quote(own.user)} -m 0750 {shlex.quote(posixpath.dirname(own.log))}",
                Text(
                    en=f"Or have systemd make the directory: LogsDirectory= in {own.name}, and a log below it",
                    zh=f"或者由 systemd 创建目录：在 {own.name} 中设置 LogsDirectory=，日志放在其下",
                ),
            ),
        )


CHECKS = (unit, unit_reload)
# Of a unit that need not have been started: for the preflight.
FIRST_START = (unit_start,)
