"""The safeguards themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ops.duration import age
from ops.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.language import Text
from ops.snapshot import NotSeen, OpenLog, Rotation, WatchdogState
from ops.topology.logrotate import covering, tears_lines


@check("ops.rotation", "OPS001", en="every log of the service is rotated", zh="服务的日志都有轮转")
def rotation(rotation: Rotation) -> Iterator[Finding]:
    """OPS001: a log that no logrotate rule takes, or whose rule compresses it while it is still written to."""
    present = [log for log in rotation.logs if log.is_file]
    rules = {log.path: covering(rotation.rules, (log.path, log.resolved)) for log in present}
    bare = [path for path, taking in rules.items() if not taking]
    torn = [path for path, taking in rules.items() if taking and all(map(tears_lines, taking))]
    hidden = next((unread for unread in rotation.unread if unread.needs_root), None)
    if bare and hidden:
        raise NotJudgedError(hidden)
    if not bare and not torn:
        return
    read = ", ".join(rotation.files) or "-"
    evidence = [
        Evidence(path, Text(en=f"matched by no rule in {read}", zh=f"{read} 中没有规则匹配")) for path in bare
    ]
    evidence += [quote("logrotate", unread.reason) for unread in rotation.unread if bare]
    for path in torn:
        rule = rules[path][0]
        evidence.append(
            Evidence(
                f"{rule.file}:{rule.line}",
                Text(
                    en=f"compresses {path}, and no postrotate has its process open the new file",
                    zh=f"压缩 {path}，但没有 postrotate 让进程打开新文件",
                ),
            )
        )
    logs = ", ".join((*bare, *torn))
    summary = None
    if not bare:
        summary = Text(
            en=f"The rule for {logs} compresses what is still written to: nobody tells the process to reopen its log.",
            zh=f"{logs} 的规则会压缩仍在写入的文件：没有让进程重新打开日志。",
        )
    yield Finding("OPS001", tuple(evidence), {"logs": logs}, summary=summary)


@check("ops.open_logs", "OPS002", en="nothing writes to a rotated log", zh="没有进程还在写已轮转的日志")
def open_logs(rotation: Rotation, open_logs: tuple[OpenLog, ...]) -> Iterator[Finding]:
    """OPS002: a process of nginx or gunicorn has a log open that was renamed or removed."""
    current = {log.resolved for log in rotation.logs}
    for item in _stale(open_logs, current):
        yield Finding(
            "OPS002",
            (
                Evidence(
                    f"/proc/{item.pid}/fd",
                    Text(
                        en=f"{item.path}{' (deleted)' if item.deleted else ''}, {item.size} bytes, open for writing",
                        zh=f"{item.path}{'（已删除）' if item.deleted else ''}，{item.size} 字节，仍打开写入",
                    ),
                ),
            ),
            {"pid": str(item.pid), "path": item.path},
        )


def _stale(logs: tuple[OpenLog, ...], current: set[str]) -> list[OpenLog]:
    """One a file: its workers only follow their master."""
    found: dict[tuple[str, bool], OpenLog] = {}
    for item in logs:
        if item.deleted or item.path not in current:
            found.setdefault((item.path, item.deleted), item)
    return list(found.values())


@check("ops.watchdog", "OPS007", en="the watchdog still acts", zh="watchdog 仍在起作用")
def watchdog(taken_at: float, watchdog: WatchdogState | NotSeen) -> Iterator[Finding]:
    """OPS007: the watchdog's state says that it holds still. Where none has run there is nothing to hold."""
    if isinstance(watchdog, NotSeen):
        if watchdog.needs_root:
            raise NotJudgedError(watchdog)
        return
    if watchdog.gave_up:
        ago = age(max(0.0, taken_at - watchdog.last_round)) if watchdog.last_round is not None else "?"
        yield Finding(
            "OPS007",
            (
                Evidence(
                    watchdog.path,
                    Text(
                        en=f"holding still after {watchdog.actions} actions; last round {ago} ago",
                        zh=f"已采取 {watchdog.actions} 次措施，目前按兵不动；上次检查在 {ago} 前",
                    ),
                ),
            ),
            {"restarts": str(watchdog.actions)},
        )


CHECKS = (rotation, open_logs, watchdog)
