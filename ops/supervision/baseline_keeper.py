"""Keeping the baseline: while the service stays healthy, the host is remembered as it is (`ops/baselines/`).

A cycle asks only whether a file's status has changed. Whether the host may be remembered after a change, the doctor
decides, in a process of its own: the watchdog sees the service behind nginx, not what users meet, and must stay small.
What that process costs is measured, and the next one waits until the share of a core is below `SHARE` again: while
changes keep coming, several are recorded at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
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
# The share of a core that recordings may take, whatever each costs here: with the cycles' own 0.13 % the watchdog stays
# below 0.3 % in every hour. CPU seconds of one until it is known; a gap is never longer than MAX_GAP, seconds.
SHARE = 0.001
ASSUMED_COST = 1.5
MAX_GAP = 4 * 3600.0
# Within these a run of `--once` waits for the doctor: its unit may end every process with it (systemd.kill(5)).
WAIT_SECONDS = 30.0
BETWEEN_LOOKS = 0.05
MAX_NOTE_BYTES = 4096


def accept_command(settings_path: Path | None) -> tuple[str, ...]:
    """The command that records the host if the doctor finds it healthy."""
    # -P, and a directory of root's: nothing is imported from the watchdog's current directory.
    own = (sys.executable, "-P", "-m", "ops.cli", "baseline", "accept", "--by", "watchdog")
    return (*own, *(("--config", str(settings_path.absolute())) if settings_path is not None else ()))


class _Asked(msgspec.Struct, frozen=True):
    """When the doctor was asked last (Unix seconds), about files of which digest; ``cost``: CPU seconds that it took,
    or that an earlier one took while this one runs."""

    digest: str
    at: float
    cost: float = ASSUMED_COST

    def gap(self, digest: str) -> float:
        """Seconds until the doctor may be asked about files of ``digest``."""
        least = WITHOUT_A_CHANGE if self.digest == digest else AFTER_A_CHANGE
        return max(least, min(MAX_GAP, self.cost / SHARE))


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
        if self._recording is not None and not self._has_ended(self._recording):
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
        last_request = self._last_request()
        # A note of the future is from before the clock was set back.
        if last_request is not None and 0 <= wall - last_request.at < last_request.gap(digest):
            return False
        self._note(_Asked(digest, wall, last_request.cost if last_request is not None else ASSUMED_COST))
        return True

    def _last_request(self) -> _Asked | None:
        try:
            content = read_regular_file(str(self._note_path), MAX_NOTE_BYTES).content
            return msgspec.json.decode(content, type=_Asked)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def _note(self, request: _Asked) -> None:
        write_atomically(self._note_path, msgspec.json.encode(request))

    @property
    def _note_path(self) -> Path:
        return self._directory / "asked.json"

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
            give_up = time.monotonic() + WAIT_SECONDS
            while not self._has_ended(self._recording):
                if time.monotonic() > give_up:
                    self._recording.kill()
                time.sleep(BETWEEN_LOOKS)

    def _has_ended(self, recording: subprocess.Popen[bytes]) -> bool:
        """Whether the recording has ended; what it cost is then noted. Popen.poll() does not say that: wait4(2)."""
        try:
            pid, status, used = os.wait4(recording.pid, os.WNOHANG)
        except ChildProcessError:
            return recording.poll() is not None
        if not pid:
            return False
        recording.returncode = os.waitstatus_to_exitcode(status)
        request = self._last_request()
        if request is not None:
            cost = used.ru_utime + used.ru_stime
            with contextlib.suppress(OSError):
                self._note(msgspec.structs.replace(request, cost=cost))
        return True
