"""The audit log of `doctor --fix`: one JSON line a step, on disk before the next step begins.

Its place is beside the watchdog's state (by default /var/lib/gte-ops/fix.jsonl), mode 0600. Its lock keeps two runs
apart. Version 0.1 wrote the same lines under the same names.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ops.collect.logs.tail import LogTail
from ops.errors import OpsError
from ops.files.nofollow import reason_not_to_trust
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import chinese, system_error
from ops.text.sanitize import safe_line

NAME = "fix.jsonl"
# One run writes a few KiB.
MAX_READ_BYTES = 256 << 10


class AuditStep(StrEnum):
    """What a line of the log says was done; the values stand in files of earlier versions."""

    DIAGNOSED = "diagnosed"
    BEGUN = "begun"
    KEPT = "kept"
    EDIT = "edit"
    INSTALL = "install"
    PUT_BACK = "put back"
    STALE_PIDFILE = "stale pidfile"
    DONE = "done"
    INTERRUPTED = "interrupted"
    VERIFIED = "verified"


def audit_log_path(settings: Settings) -> Path:
    """The audit log of this configuration's runs."""
    return Path(settings.watchdog.state_file).with_name(NAME)


class AuditLog:
    """The open log; use it as a context. Raises OpsError if it cannot be written: then nothing is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (why := reason_not_to_trust(str(self.path.parent), listed=True)) is not None:
                raise OpsError(
                    Text(
                        en=f"{self.path}: {safe_line(why)}: without a log of its own --fix does nothing",
                        zh=f"{self.path}：{chinese(safe_line(why))}；没有自己的日志，--fix 不作任何改动",
                    )
                )
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
            os.fchmod(self._descriptor, 0o600)
        except OSError as error:
            then = Text(en="; without its log --fix does nothing", zh="；没有日志，--fix 不作任何改动")
            raise OpsError(system_error(self.path, error, then)) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise OpsError(
                Text(
                    en=f"another gte-ops doctor --fix is running ({self.path}); wait for its end",
                    zh=f"另一个 gte-ops doctor --fix 正在运行（{self.path}）；请等它结束",
                )
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def note(self, step: AuditStep, **facts: Any) -> None:
        """Append one line: the time, the step and its facts. Raises OpsError."""
        line: dict[str, Any] = {
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "step": step,
            "pid": os.getpid(),
        }
        line |= {name: safe_line(v) if isinstance(v, str) else v for name, v in facts.items()}
        try:
            os.write(self._descriptor, json.dumps(line, ensure_ascii=False).encode() + b"\n")
            os.fsync(self._descriptor)
        except OSError as error:
            raise OpsError(
                Text(
                    en=f"{self.path}: {error.strerror or error}; nothing more is done",
                    zh=f"{self.path}：{chinese(error.strerror or error)}；不再作任何改动",
                )
            ) from None


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnfinishedRemedy:
    """A remedy that began and never ended: its run was killed. ``copies``: each edited file, and the copy of it as it
    was before."""

    time: str
    code: str
    what: str
    copies: tuple[tuple[str, str], ...] = ()


def unfinished(path: Path) -> UnfinishedRemedy | None:
    """The remedy at which the last run was cut off; None if it ended, still runs, or left no log that can be read."""
    copies: dict[str, str] = {}
    put_back: set[str] = set()
    try:
        if _is_locked(path):
            return None
        for entry in _last_run(path):
            match entry.get("step"):
                case AuditStep.DONE | AuditStep.INTERRUPTED | AuditStep.VERIFIED:
                    return None
                case AuditStep.PUT_BACK:
                    put_back.add(str(entry.get("path")))
                case AuditStep.EDIT if entry.get("path") not in put_back:
                    copies[str(entry.get("path"))] = str(entry.get("kept"))
                case AuditStep.BEGUN:
                    return UnfinishedRemedy(
                        str(entry.get("time", "?")),
                        str(entry.get("code", "?")),
                        str(entry.get("what", "?")),
                        tuple(reversed(copies.items())),
                    )
    except (OSError, ValueError):
        return None
    return None


def _last_run(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the newest run, newest first; a line that a kill cut short is passed over."""
    for line in LogTail(str(path), 0.0, MAX_READ_BYTES).lines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        yield entry
        if entry.get("step") == AuditStep.DIAGNOSED:
            return


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
