"""What systemd or supervisord alone reports of a start that failed."""

from __future__ import annotations

import re

from ops.facts.start import ServiceManager, SupervisorAccount
from ops.interpret.start_failure.kind import Kind, StartFailure

# systemd.exec(5), Process Exit Codes: failures between fork and exec.
_SYSTEMD_STATUS = {
    200: Kind.DIRECTORY, 203: Kind.PROGRAM, 209: Kind.LOG_DIRECTORY, 216: Kind.GROUP, 217: Kind.USER,
    208: Kind.LOG_DIRECTORY, 222: Kind.LOG_DIRECTORY, 238: Kind.PIDFILE_DIRECTORY, 240: Kind.LOG_DIRECTORY,
}  # fmt: skip
SYSTEMD_NAMES = {
    200: "CHDIR", 203: "EXEC", 208: "STDIN", 209: "STDOUT", 216: "GROUP", 217: "USER", 222: "STDERR",
    226: "NAMESPACE", 238: "RUNTIME_DIRECTORY", 240: "LOGS_DIRECTORY",
}  # fmt: skip


def _told_to(account: SupervisorAccount, kind: Kind) -> dict[str, str]:
    """Return the unit and its setting that systemd could not apply."""
    settings = {
        Kind.PROGRAM: ("path", account.program),
        Kind.DIRECTORY: ("path", account.directory),
        Kind.LOG_DIRECTORY: ("path", account.output),
        Kind.USER: ("name", account.user),
        Kind.GROUP: ("name", account.group),
    }
    name, value = settings.get(kind, ("", None))
    return {"unit": account.unit, **({name: value} if value else {})}


def account_failure(account: SupervisorAccount) -> StartFailure | None:
    """Return the failure that a supervisor's report alone proves; None if it reports none."""
    time = account.time or 0.0
    if account.manager is ServiceManager.SYSTEMD:
        status = account.status
        name = SYSTEMD_NAMES.get(status or 0)
        if account.result in ("success", "") and not status:
            return None
        words = f"Result={account.result}" + (
            f" status={status}{f'/{name}' if name else ''}" if status else ""
        )
        if account.signal:
            words += f" signal={account.signal}"
        kind = _SYSTEMD_STATUS.get(status or 0, Kind.UNKNOWN)
        if account.result == "start-limit-hit":
            kind = Kind.START_LIMIT
        elif account.result == "oom-kill":
            kind = Kind.MEMORY
        elif account.result == "timeout":
            kind = Kind.UNKNOWN
        return StartFailure(kind, words, account.source, time, None, _told_to(account, kind))
    match = re.search(
        r"spawnerr: (?:can't find command|command at) '([^']+)'( is not executable)?", account.words
    )
    if match:
        kind = Kind.NOT_EXECUTABLE if match[2] else Kind.PROGRAM
        return StartFailure(
            kind, account.words, account.source, time, None, {"path": match[1], "unit": account.unit}
        )
    if "FATAL" in account.words or "exit status" in account.words or "spawnerr" in account.words:
        return StartFailure(Kind.UNKNOWN, account.words, account.source, time, None, {"unit": account.unit})
    return None
