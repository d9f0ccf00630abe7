"""The record of what `doctor --fix` did: one JSON line a step, written and on disk before the next one begins.

It lies beside the watchdog's state (by default /var/lib/gte-ops/fix.jsonl), mode 0600. Its lock keeps two runs apart.
"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ops.errors import OpsError
from ops.files.nofollow import reason_not_to_trust
from ops.settings import Settings
from ops.text.sanitize import safe_line

NAME = "fix.jsonl"


def record_path(settings: Settings) -> Path:
    """Where the record of this configuration's runs lies."""
    return Path(settings.watchdog.state_file).with_name(NAME)


class AuditLog:
    """The open record; use it as a context. Raises OpsError where it cannot be written: then nothing is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (why := reason_not_to_trust(str(self.path.parent), listed=True)) is not None:
                raise OpsError(f"{self.path}: {safe_line(why)}: without a log of its own --fix does nothing")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
            os.fchmod(self._descriptor, 0o600)
        except OSError as error:
            raise OpsError(
                f"{self.path}: {error.strerror or error}: without its log --fix does nothing; run it as root"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise OpsError(
                f"another gte-ops doctor --fix is at work ({self.path}); wait for its end"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def note(self, step: str, **facts: Any) -> None:
        """One line: when, which step (planned, begun, done, verified), and what is known. Raises OpsError."""
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
            raise OpsError(f"{self.path}: {error.strerror or error}; nothing more is done") from None
