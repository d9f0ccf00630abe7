"""Judges of the service's systemd unit: why systemd does not run it, and whether it runs what is on disk."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from ops.diagnosis.checks.gunicorn_start import last_failure
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.probes import Backend, Exchange
from ops.facts.safeguards import OpenLog
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.facts.units import Unit, Units, UnwritablePlace
from ops.interpret.unit_sandbox import directory_to_open, is_everybody_s
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
    "GUN050",
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
    """GUN030 to GUN037 and GUN050: no gunicorn of the service runs, and systemd says why it does not run its unit.

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
        case UnitFault.NAMESPACE | UnitFault.READ_ONLY:
            return  # GUN051
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
                fix=(
                    *((verbatim(f"ls -l {shlex.quote(program)}"),) if own.program else ()),
                    _edit(own, "ExecStart="),
                    *start,
                ),
                kind=fault,
            )
        case UnitFault.DIRECTORY:
            reason = own.directory_error or last_words(own) or "exit code 200"
            yield Finding(
                "GUN034", evidence, facts | {"directory": own.directory or "?", "reason": reason}, kind=fault
            )
        case UnitFault.ACCOUNT:
            account = own.account_error or ":".join(filter(None, (own.user, own.group))) or "?"
            yield Finding(
                "GUN035", evidence, facts | {"account": account, "user": own.user or own.group}, kind=fault
            )
        case UnitFault.ENVIRONMENT_FILE:
            file = missing_environment_file(own)
            path, reason = (file.path, file.error) if file else ("?", "?")
            yield Finding("GUN036", evidence, facts | {"file": path, "reason": reason}, kind=fault)
        case UnitFault.CONDITION | UnitFault.DEPENDENCY | UnitFault.WAITING:
            proof, because, steps = _held_back(own, fault)
            yield Finding("GUN050", proof, facts | {"reason": because}, fix=steps, kind=fault)
        case UnitFault.START_LIMIT:
            yield Finding("GUN032", evidence, facts, kind=fault)
        case UnitFault.RESTARTING | UnitFault.FAILED:
            yield Finding(
                "GUN037",
                evidence,
                facts | {"state": state_words(own), "words": last_words(own) or "-"},
                kind=fault,
            )


def _held_back(own: Unit, fault: UnitFault) -> tuple[tuple[Evidence, ...], Text, tuple[Text, ...]]:
    """The proof, the reason and the steps, if systemd does not begin to start the unit, which is no failure to it."""
    source, start = f"systemctl show {own.name}", verbatim(f"systemctl start {shlex.quote(own.name)}")
    evidence = [quote(source, state_words(own))]
    if fault is UnitFault.CONDITION:
        evidence += [quote(", ".join((own.file, *own.drop_ins)), line) for line in own.unmet[:3]]
        because = ", ".join(own.unmet)
        reason = Text(en=f"a condition of it is not met: {because}", zh=f"它的条件不成立：{because}")
        steps: tuple[Text, ...] = (
            verbatim(f"systemctl cat {shlex.quote(own.name)} | grep -E '^(Condition|Assert)'"),
            Text(
                en=f"Bring about what {because} asks for, if that has just been lost; else take the line out"
                f" (systemctl edit --full {own.name})",
                zh=f"如果只是缺了 {because} 所要求的东西，就补上；否则去掉这一行（systemctl edit --full {own.name}）",
            ),
            start,
        )
        return tuple(evidence), reason, steps
    evidence += [quote(f"systemctl status {other.name}", other.state) for other in own.obstacles[:3]]
    names = ", ".join(f"{other.name} ({other.state})" for other in own.obstacles[:3])
    first = shlex.quote(own.obstacles[0].name)
    look = (
        verbatim(f"systemctl status --no-pager {first}"),
        verbatim(f"journalctl -u {first} -n 20 --no-pager"),
    )
    if fault is UnitFault.WAITING:
        reason = Text(en=f"its start waits for {names}", zh=f"它的启动在等待 {names}")
        steps = (
            verbatim("systemctl list-jobs --no-pager"),
            *look,
            Text(
                en=f"Let {first} come up, or end it (systemctl stop {first}); {own.name} starts by itself then",
                zh=f"让 {first} 启动完成，或停掉它（systemctl stop {first}）；随后 {own.name} 会自己启动",
            ),
        )
    else:
        reason = Text(en=f"it requires {names}", zh=f"它依赖 {names}")
        steps = (
            *look,
            Text(
                en=f"Fix {first} and start it, or take it out of Requires= and BindsTo= in {own.name}"
                f" (systemctl edit --full {own.name})",
                zh=f"修好并启动 {first}，或把它从 {own.name} 的 Requires=、BindsTo= 中去掉"
                f"（systemctl edit --full {own.name}）",
            ),
            verbatim(f"systemctl reset-failed {first}"),
            start,
        )
    return tuple(evidence), reason, steps


def _shut_in(own: Unit, fault: UnitFault) -> Finding:
    """GUN051: the unit's sandbox names a path that is not there, or forbids a file that the service needs."""
    evidence = [quote(f"systemctl show {own.name}", state_words(own))]
    name = shlex.quote(own.name)
    start = (
        verbatim("systemctl daemon-reload"),
        verbatim(f"systemctl reset-failed {name}"),
        verbatim(f"systemctl restart {name}"),
    )
    if fault is UnitFault.NAMESPACE:
        words = next(
            (line for line in own.words if "mount namespacing" in line), last_words(own) or "exit code 226"
        )
        absent = ", ".join(own.sandbox.missing) or words
        evidence.append(quote(f"journalctl -u {own.name}", words))
        evidence += [Evidence(path, Text(en="is not there", zh="不存在")) for path in own.sandbox.missing[:3]]
        reason = Text(
            en=f"its sandbox names a path that is not there: {absent}",
            zh=f"它的沙箱设置引用了不存在的路径：{absent}",
        )
        steps: tuple[Text, ...] = (
            verbatim(f"systemctl cat {name} | grep -nE '(Paths|Directories)='"),
            Text(
                en=f"Bring {absent} back, or take it out of {own.name}; with a hyphen before it (ReadWritePaths=-/PATH)"
                " systemd starts the service without it",
                zh=f"恢复 {absent}，或从 {own.name} 中去掉；路径前加减号（ReadWritePaths=-/路径）则允许它不存在",
            ),
            *start,
        )
        return Finding("GUN051", tuple(evidence), {"unit": own.name, "reason": reason}, fix=steps, kind=fault)
    places = [place for place in own.unwritable if place.stops_the_start] or list(own.unwritable)
    evidence += [quote(place.path, place.setting) for place in places[:3]]
    return Finding(
        "GUN051",
        tuple(evidence),
        {"unit": own.name, "reason": unwritable_words(places)},
        fix=(*steps_to_allow(own, places), *start),
        kind=fault,
    )


def unwritable_words(places: Sequence[UnwritablePlace]) -> Text:
    """Which places a unit may not write, and why."""
    told = ", ".join(f"{place.path} ({place.setting})" for place in places[:3])
    return Text(en=f"its sandbox forbids it to write {told}", zh=f"它的沙箱不允许写入 {told}")


def steps_to_allow(own: Unit, places: Sequence[UnwritablePlace]) -> tuple[str | Text, ...]:
    """Steps that let the unit's program write ``places``, as far as its sandbox can be opened there."""
    hidden = [place for place in places if not place.setting.startswith(("ProtectSystem=", "ReadOnlyPaths="))]
    openings = {place: directory_to_open(place) for place in places if place not in hidden}
    folders = tuple(dict.fromkeys(folder for folder in openings.values() if folder is not None))
    steps: list[str | Text] = [
        Text(
            en=f"{place.setting} shuts {place.path} off: name another place in the configuration, or change that line"
            f" (systemctl edit --full {own.name})",
            zh=f"{place.setting} 使 {place.path} 不可用：在配置中换一个位置，或改这一行"
            f"（systemctl edit --full {own.name}）",
        )
        for place in hidden[:2]
    ]
    steps += [
        Text(
            en=f"Name a place for {place.path} in a directory of the service's own, one that systemd makes"
            f" (LogsDirectory=, StateDirectory=, RuntimeDirectory= in {own.name}) or that ReadWritePaths= names",
            zh=f"把 {place.path} 换到服务自己的目录：由 systemd 创建（{own.name} 中的 LogsDirectory=、StateDirectory=、"
            "RuntimeDirectory=），或写进 ReadWritePaths=",
        )
        for place, folder in openings.items()
        if folder is None
    ][:2]
    if folders:
        steps += [_to_make(own, folder) for folder in folders]
        directory = shlex.quote(f"/etc/systemd/system/{own.name}.d")
        # With the hyphen the unit is started without a directory that is not there, as before.
        words = " ".join(shlex.quote(f"ReadWritePaths=-{folder}") for folder in folders)
        steps += [
            f"install -d {directory}",
            f"printf '%s\\n' '' '[Service]' {words} >>{directory}/writable.conf",
        ]
    return tuple(steps)


def _to_make(own: Unit, folder: str) -> str | Text:
    """The step that makes a directory for the unit's user, if it is not there: `install -d` would change the owner of
    one that is."""
    place = shlex.quote(folder)
    if own.is_dynamic_user:
        return Text(
            en=f"See that {folder} is there, and that {own.name} may write it: its user is made anew at each start",
            zh=f"确认 {folder} 存在，且 {own.name} 可以写入：它的用户在每次启动时新建",
        )
    owner = f"-o {shlex.quote(own.user)} " if own.user else ""
    group = f"-g {shlex.quote(own.group)} " if own.group else ""
    return f"test -d {place} || install -d {owner}{group}-m 0750 {place}"


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
    "GUN050",
    "GUN051",
    en="systemd can start the service's unit",
    zh="systemd 能够启动服务的 unit",
)
def unit_start(units: Units, target: Target) -> Iterator[Finding]:
    """What keeps systemd from starting the unit, whether it runs or has never run: GUN030 to GUN037, GUN050, GUN051,
    and GUN018 for a log that the unit's user may not write, without which gunicorn does not start."""
    own = units.unit(units.service)
    if own is None:
        return
    _refuse_unread(own)
    fault = start_obstacle(own) or unit_fault(own)
    if fault in (UnitFault.NAMESPACE, UnitFault.READ_ONLY):
        yield _shut_in(own, fault)
    elif fault is not None:
        yield from _of_fault(fault, own)
    elif _is_cut_off(own, target):
        yield _cut_off(own, target)
    elif own.unwritable:
        yield _warned(own, own.unwritable)
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
            fix=_to_give_the_log(own),
        )


def _to_give_the_log(own: Unit) -> tuple[str | Text, ...]:
    """Steps that let the unit's user write its log; no directory of others becomes its own for that."""
    folder = posixpath.dirname(own.log)
    by_systemd = Text(
        en=f"Have systemd make the directory: LogsDirectory= in {own.name}, and a log below it",
        zh=f"由 systemd 创建目录：在 {own.name} 中设置 LogsDirectory=，日志放在其下",
    )
    if is_everybody_s(folder):
        return (by_systemd,)
    return (
        f"test -d {shlex.quote(folder)} || install -d -o {shlex.quote(own.user)} -m 0750 {shlex.quote(folder)}",
        Text(
            en=f"If it is there: give {own.user} what is missing ({own.log_error}), or have systemd make the directory:"
            f" LogsDirectory= in {own.name}, and a log below it",
            zh=f"如果目录已存在：给 {own.user} 补上缺少的权限（{own.log_error}），或由 systemd 创建目录："
            f"在 {own.name} 中设置 LogsDirectory=，日志放在其下",
        ),
    )


@check(
    "gunicorn.unit_sandbox",
    "GUN051",
    en="the unit's sandbox leaves the service what it needs",
    zh="unit 的沙箱没有妨碍服务",
)
def unit_sandbox(
    units: Units, target: Target, backend: Backend, open_logs: tuple[OpenLog, ...] | NotSeen
) -> Iterator[Finding]:
    """GUN051: the unit is down, because of a path that its sandbox names or forbids; or it is up, and has a network of
    its own, in which nobody reaches it; or may not write where it will after its next start, or where its records are
    to be."""
    own = units.unit(units.service)
    if own is None or own.load != "loaded":
        return
    if own.active not in ("active", "reloading"):
        fault = unit_fault(own) if target.gunicorn_master is None and backend.connection.failure else None
        if fault in (UnitFault.NAMESPACE, UnitFault.READ_ONLY):
            yield _shut_in(own, fault)
        return
    if _is_cut_off(own, target) and backend.connection.failure is not None:
        yield _cut_off(own, target)
        return
    written = set() if isinstance(open_logs, NotSeen) else {log.path for log in open_logs}
    places = tuple(place for place in own.unwritable if place.path not in written)
    if not places:
        return
    serves = isinstance(backend.health, Exchange) and backend.health.status is not None
    if not serves and any(place.stops_the_start for place in places):
        yield _shut_in(own, UnitFault.READ_ONLY)
    else:
        yield _warned(own, places)


def _warned(own: Unit, places: Sequence[UnwritablePlace]) -> Finding:
    """GUN051 of a unit that is up, or not started yet: what its next start, or its records, will meet."""
    finding = _shut_in(own, UnitFault.READ_ONLY)
    words = unwritable_words(places)
    no_start = any(place.stops_the_start for place in places)
    restart = verbatim(f"systemctl restart {shlex.quote(own.name)}")
    return replace(
        finding,
        evidence=(finding.evidence[0], *(quote(place.path, place.setting) for place in places[:3])),
        facts={"unit": own.name, "reason": words},
        severity=Severity.WARN,
        explains=(),
        summary=Text(
            en=f"{own.name} runs, and cannot be started again: {words.en}.",
            zh=f"{own.name} 正在运行，但下次无法启动：{words.zh}。",
        )
        if no_start
        else Text(
            en=f"{own.name} leaves no records there: {words.en}.",
            zh=f"{own.name} 无法在那里留下记录：{words.zh}。",
        ),
        fix=(*steps_to_allow(own, places), verbatim("systemctl daemon-reload"), restart),
    )


def _is_cut_off(own: Unit, target: Target) -> bool:
    """Whether the unit has a network of its own, and the service a port in it that it opens itself."""
    is_given = any(name.endswith(".socket") for name in own.triggered_by)
    return own.sandbox.private_network and not target.backend.startswith("unix:") and not is_given


def _cut_off(own: Unit, target: Target) -> Finding:
    name = shlex.quote(own.name)
    return Finding(
        "GUN051",
        (
            quote(f"systemctl show {own.name}", f"PrivateNetwork=yes, {state_words(own)}"),
            Evidence(
                f"tcp {target.backend}",
                Text(en="nobody outside of the unit reaches it", zh="unit 之外无法访问"),
            ),
        ),
        {
            "unit": own.name,
            "reason": Text(
                en=f"PrivateNetwork=yes gives it a network of its own, in which nginx does not reach {target.backend}",
                zh=f"PrivateNetwork=yes 让它使用独立的网络，nginx 无法访问其中的 {target.backend}",
            ),
        },
        fix=(
            verbatim(f"systemctl cat {name} | grep -n PrivateNetwork="),
            Text(
                en=f"Take PrivateNetwork= out of {own.name} (systemctl edit --full {own.name}), or let gunicorn listen"
                " on a unix socket",
                zh=f"去掉 {own.name} 中的 PrivateNetwork=（systemctl edit --full {own.name}），"
                "或让 gunicorn 监听 unix socket",
            ),
            verbatim("systemctl daemon-reload"),
            verbatim(f"systemctl restart {name}"),
        ),
        kind="private_network",
    )


CHECKS = (unit, unit_reload, unit_sandbox)
# Of a unit that need not have been started: for the preflight.
FIRST_START = (unit_start,)
