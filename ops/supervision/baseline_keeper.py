"""Keeping the baseline: while the service stays healthy, the host is remembered as it is (`ops/baselines/`).

A cycle asks only whether a file's status has changed. Whether the host may be remembered after a change, the doctor
decides, in a process of its own: the watchdog sees the service behind nginx, not what users meet, and must stay small.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ops.baselines.directory import baseline_directory
from ops.files.atomic_file import write_atomically
from ops.files.bounded_read import read_regular_file
from ops.settings import Settings
from ops.supervision.observation import Clocks
from ops.supervision.state import ServiceState, WatchdogState

# Healthy for so long, the service is settled, seconds.
SETTLED = 120.0
# The time of the last healthy moment is written at most so often, seconds.
CONFIRM_EVERY = 60.0
# Until the doctor is asked again, seconds: after another change; with the same files, where a reload may be what was
# missing.
AFTER_A_CHANGE, WITHOUT_A_CHANGE = 300.0, 3600.0
# Within these a run of `--once` waits for the doctor: its unit may end every process with it (systemd.kill(5)).
WAIT_SECONDS = 30.0
MAX_NOTE_BYTES = 4096


def accept_command(settings_path: Path | None) -> tuple[str, ...]:
    """The command that records the host if the doctor finds it healthy."""
    # -P, and a directory of root's: nothing is imported from the watchdog's current directory.
    own = (sys.executable, "-P", "-m", "ops.cli", "baseline", "accept", "--by", "watchdog")
    return (*own, *(("--config", str(settings_path.absolute())) if settings_path is not None else ()))


class _Asked(msgspec.Struct, frozen=True):
    """When the doctor was asked last (Unix seconds), about files of which digest."""

    digest: str
    at: float


class BaselineKeeper:
    """Confirms the baseline at healthy cycles, and has a new one recorded after changes. ``command``: what records."""

    def __init__(self, settings: Settings, command: Sequence[str], *, resident: bool) -> None:
        self._directory = baseline_directory(settings)
        self._command = tuple(command)
        self._resident = resident
        self._recording: subprocess.Popen[bytes] | None = None
        self._confirmed_at: float | None = None

    def after_cycle(self, state: WatchdogState, now: Clocks, *, paused: bool) -> None:
        """Confirm or renew the baseline if the service is settled; never raises for what cannot be written or run."""
        if self._recording is not None and self._recording.poll() is None:
            return
        self._recording = None
        is_settled = (
            state.service_state == ServiceState.HEALTHY and now.boottime - state.state_since >= SETTLED
        )
        if not is_settled or paused or state.pending is not None:
            return
        with contextlib.suppress(OSError):
            self._renew(now)

    def _renew(self, now: Clocks) -> None:
        # Imported once there is something to keep.
        from ops.baselines.store import BaselineStore
        from ops.baselines.unchanged import present_signature, stored_signature

        store = BaselineStore(self._directory)
        latest = store.latest()
        signature = present_signature(latest.baseline) if latest is not None else ()
        if latest is not None and signature == stored_signature(latest.baseline):
            if self._confirmed_at is None or now.boottime - self._confirmed_at >= CONFIRM_EVERY:
                store.confirm(latest)
                self._confirmed_at = now.boottime
            return
        digest = hashlib.sha256(repr(signature).encode()).hexdigest()
        if self._is_due(digest, now.wall):
            self._record()

    def _is_due(self, digest: str, wall: float) -> bool:
        """Whether the doctor is to be asked about the files of this digest, which is then noted: runs of `--once` from
        cron know of each other by the note alone. Raises OSError if it cannot be written."""
        note = self._directory / "asked.json"
        try:
            last_request = msgspec.json.decode(
                read_regular_file(str(note), MAX_NOTE_BYTES).content, type=_Asked
            )
        except (OSError, ValueError, msgspec.MsgspecError):
            last_request = None
        # A note of the future is from before the clock was set back.
        if last_request is not None and last_request.at <= wall:
            gap = WITHOUT_A_CHANGE if last_request.digest == digest else AFTER_A_CHANGE
            if wall - last_request.at < gap:
                return False
        write_atomically(note, msgspec.json.encode(_Asked(digest, wall)))
        return True

    def _record(self) -> None:
        with contextlib.suppress(OSError):
            self._recording = subprocess.Popen(
                self._command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.setpriority(os.PRIO_PROCESS, self._recording.pid, 10)
        if not self._resident and self._recording is not None:
            try:
                self._recording.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._recording.kill()
                self._recording.wait()
