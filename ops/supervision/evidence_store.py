"""The evidence, kept before anything is killed: one dated directory for each trouble, bounded in size and number.

Stacks, what /proc says, the ends of the logs, the doctor's report, and the observation itself. Nothing here fails a
cycle: what cannot be written is left out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from ops.files.bounded_read import open_regular_file, read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.supervision.observation import Observation
from ops.text.sanitize import safe_text, without_secrets

MAX_DIRECTORIES = 20
MAX_TOTAL_BYTES = 50 << 20
MAX_FILE_BYTES = 1 << 20
MAX_REPORT_BYTES = 8 << 20
TAIL_BYTES = 64 * 1024
# The doctor's own budget here, and how long an action waits for its report, seconds.
DOCTOR_BUDGET = 4.0
DOCTOR_WAIT = 6.0
_PROC_FILES = (
    "status",
    "wchan",
    "syscall",
    "stack",
    "stat",
    "io",
    "limits",
    "oom_score",
    "cgroup",
    "schedstat",
)


class ReportedCause(NamedTuple):
    """A cause of the doctor's report: its code, and which of the defects behind the code it is (empty: not said)."""

    code: str
    kind: str = ""


class EvidenceDirectory:
    """The directory of one trouble, made when the first file is put into it."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / name
        self._doctor: subprocess.Popen[bytes] | None = None

    def put(self, name: str, content: str) -> None:
        """Write one file, with secrets removed."""
        from ops.interpret.redaction import redacted_text

        self._write(name, redacted_text(content[:MAX_FILE_BYTES]))

    def _write(self, name: str, content: str) -> None:
        with contextlib.suppress(OSError):
            self._make()
            with os.fdopen(self._new(name), "w", encoding="utf-8", errors="replace") as file:
                file.write(content[:MAX_FILE_BYTES])

    def put_observation(self, observation: Observation) -> None:
        """Write the observation, as JSON."""
        from ops.interpret.redaction import redacted_plain

        plain = redacted_plain(msgspec.to_builtins(observation))
        self._write("look.json", msgspec.json.format(msgspec.json.encode(plain), indent=1).decode())

    def put_processes(self, pids: Iterable[int]) -> None:
        """Write what /proc says of each process."""
        parts = []
        for pid in pids:
            for name in _PROC_FILES:
                with contextlib.suppress(OSError):
                    parts.append(f"== /proc/{pid}/{name}\n{_head(Path(f'/proc/{pid}/{name}'))}")
            with contextlib.suppress(OSError):
                count = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
                parts.append(f"== /proc/{pid}/fd\n{count} descriptors")
        self._write("proc.txt", without_secrets("\n".join(parts) + "\n"))

    def put_log_tails(self, logs: Iterable[tuple[str, int | None]]) -> None:
        """Write the ends of logs, with secrets and control characters removed.

        Each comes with the user who named it, None if the settings did (`open_regular_file`): a file that this user
        could not write is no log of theirs."""
        for index, (path, namer) in enumerate(log for log in logs if log[0]):
            with contextlib.suppress(OSError, ValueError):
                with open_regular_file(path, namer=namer) as file:
                    start = file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                    text = file.read(TAIL_BYTES).decode("utf-8", "replace")
                if start:
                    # Without its beginning, nobody can tell what the rest of a line is, or whether it is a secret.
                    text = text.partition("\n")[2]
                self.put(f"log-{index + 1}.txt", f"== {path}\n{safe_text(text, TAIL_BYTES)}\n")

    # --- the doctor --------------------------------------------------------------------------------------------------

    def start_doctor(self, config: Path | None) -> None:
        """Start the doctor in a process of its own: it takes seconds, and must not delay a recovery."""
        # -P, and a directory of root's: nothing is imported from the watchdog's current directory.
        command = [
            sys.executable,
            "-P",
            "-m",
            "ops.cli",
            "doctor",
            "--format",
            "json",
            "--budget",
            f"{DOCTOR_BUDGET:g}s",
            # While something is wrong, anybody may answer at the service's addresses: do not parse that as root.
            "--unprivileged-probes",
        ]
        if config is not None:
            command += ["--config", str(config.absolute())]
        with contextlib.suppress(OSError):
            self._make()
            with os.fdopen(self._new("doctor.json"), "wb") as report:
                self._doctor = subprocess.Popen(
                    command, cwd="/", stdin=subprocess.DEVNULL, stdout=report, stderr=subprocess.DEVNULL
                )
            # The service's boot comes first if both want the same cores.
            os.setpriority(os.PRIO_PROCESS, self._doctor.pid, 10)

    def causes(self, *, patient: bool = True) -> tuple[ReportedCause, ...]:
        """The causes the doctor found; empty if there is no report.

        ``patient``: wait for the doctor, and kill it if it takes too long. Otherwise use only a report that is there;
        the doctor then ends by itself."""
        if self._doctor is not None:
            try:
                self._doctor.wait(timeout=DOCTOR_WAIT if patient else 0)
            except subprocess.TimeoutExpired:
                if patient:
                    self._doctor.kill()
                    self._doctor.wait()
                return ()
        try:
            content = read_regular_file(str(self.path / "doctor.json"), MAX_REPORT_BYTES).content
            report = msgspec.json.decode(content)
        except (OSError, ValueError, msgspec.DecodeError):
            return ()
        self._keep_report(report)
        causes = report.get("causes") if isinstance(report, dict) else None
        return tuple(
            ReportedCause(str(cause["code"]), str(cause.get("kind", "")))
            for cause in (causes if isinstance(causes, list) else [])
            if isinstance(cause, dict) and "code" in cause and cause.get("severity") == "fail"
        )

    def _keep_report(self, report: object) -> None:
        """Redact the doctor's report: it may show hashes on a terminal, but evidence is passed on to others."""
        if self._doctor is not None and self._doctor.poll() is not None:
            from ops.interpret.redaction import redacted_plain

            self._doctor = None
            self._write(
                "doctor.json",
                msgspec.json.format(msgspec.json.encode(redacted_plain(report))).decode() + "\n",
            )

    @property
    def doctor_runs(self) -> bool:
        """Whether the doctor is still running."""
        return self._doctor is not None and self._doctor.poll() is None

    def _make(self) -> None:
        """Make the directory. Raises OSError if that fails, or if others than the caller have access to it."""
        root = self.path.parent
        if not self.path.exists():
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            root.chmod(0o700)
            self.path.mkdir(mode=0o700)
            self.path.chmod(0o700)
            prune(root, keep=self.path)
        status = self.path.lstat()
        is_own = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        if not stat.S_ISDIR(status.st_mode) or not is_own or reason_not_to_trust(str(root), listed=True):
            raise PermissionError(errno.EPERM, "not the caller's own", str(self.path))

    def _new(self, name: str) -> int:
        """The descriptor of a new file that replaces the one with this name. Raises OSError."""
        place = self.path / name
        place.unlink(missing_ok=True)
        return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def directory_name(wall: float, fault: str, root: Path) -> str:
    """A name not yet used below ``root``: date, time and fault."""
    base = f"{time.strftime('%Y%m%dT%H%M%S', time.localtime(wall))}-{fault}"
    name, number = base, 1
    while (root / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def prune(root: Path, *, keep: Path) -> None:
    """Remove the oldest directories beyond the limits of number and size. Never raises."""
    with contextlib.suppress(OSError):
        directories = sorted(
            (d for d in root.iterdir() if d.is_dir() and not d.is_symlink()), key=lambda d: d.name
        )
        sizes = {d: sum(f.stat().st_size for f in d.iterdir() if f.is_file()) for d in directories}
        total = sum(sizes.values())
        for directory in tuple(directories):
            if len(directories) <= MAX_DIRECTORIES and total <= MAX_TOTAL_BYTES:
                break
            if directory == keep:
                continue
            shutil.rmtree(directory, ignore_errors=True)
            directories.remove(directory)
            total -= sizes[directory]


def _head(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.read(16 * 1024)
