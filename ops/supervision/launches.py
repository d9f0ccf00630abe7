"""How the service was started: recorded while it serves, and compared with what a restart brought up.

A master that the watchdog did not start is recorded as it is: whoever starts it decides how. A master that the watchdog
did start must have what the one before it had (`ops/control/launch.py`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ops.collect.process.boot_clock import boot_id
from ops.control import launch
from ops.control.launch import Launch, Remembered
from ops.files.time_limit import BlockedError, within
from ops.interpret.process_ref import ProcessRef
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.health.assessment import ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.state import WatchdogState
from ops.text.sanitize import safe_line

READ_SECONDS = 2.0


class Launches:
    """The launch recorded at ``path``; `gte-ops watchdog forget` removes it."""

    def __init__(self, path: Path, journal: WatchdogJournal) -> None:
        self._path, self._journal = path, journal
        self._trouble = ""

    def compare(self, observation: Observation, state: WatchdogState) -> WatchdogState:
        """``state`` with what the present master lacks, if the watchdog restarted it."""
        recorded = launch.load(self._path)
        if recorded is None or observation.master is None:
            return msgspec.structs.replace(state, environment_lost=(), other_user=False)
        master = ProcessRef(observation.master.pid, observation.master.start_ticks)
        since = state.restarting_since
        is_same = recorded.master == master and recorded.boot_id == boot_id()
        # A start time counts in ticks of 10 ms, and can appear a little earlier than the clock it is compared with.
        if not is_same and since is not None and observation.master.started >= since - 1.0:
            now = _read(master.pid)
            lost = _lost(recorded.launch, now) if now is not None else ()
            other_user = now is not None and now.account.uid != recorded.launch.account.uid
            recorded = Remembered(recorded.launch, master, boot_id(), lost, other_user)
            self._save(recorded)
            if lost or other_user:
                self._journal.note("environment_changed", pid=master.pid, without=lost, other_user=other_user)
            is_same = True
        if not is_same:
            return msgspec.structs.replace(state, environment_lost=(), other_user=False)
        return msgspec.structs.replace(state, environment_lost=recorded.lost, other_user=recorded.other_user)

    def remember(self, assessment: Assessment, observation: Observation, state: WatchdogState) -> None:
        """Record once how a master was started that serves and that the watchdog did not start."""
        if observation.master is None or assessment.state not in ALIVE or state.pending is not None:
            return
        master = ProcessRef(observation.master.pid, observation.master.start_ticks)
        recorded = launch.load(self._path)
        if recorded is not None and recorded.master == master and recorded.boot_id == boot_id():
            return
        now = _read(master.pid)
        if now is not None:
            self._save(Remembered(now, master, boot_id()))
        elif recorded is not None:
            # How this one was started cannot be read, and the one before it says nothing about it.
            launch.forget(self._path)

    def _save(self, recorded: Remembered) -> None:
        try:
            launch.save(self._path, recorded)
        except OSError as error:
            trouble = safe_line(f"{self._path}: cannot be written: {error.strerror or error}")
            if trouble != self._trouble:
                self._journal.note("launch_unwritable", detail=trouble)
            self._trouble = trouble
        else:
            self._trouble = ""


def _read(pid: int) -> Launch | None:
    try:
        return within(READ_SECONDS, lambda: launch.read_launch(pid))
    except BlockedError:
        return None


def _lost(before: Launch, after: Launch) -> tuple[str, ...]:
    # What systemd starts gets what its unit says: if that has changed, somebody meant it to.
    return () if before.is_by_systemd and after.is_by_systemd else launch.lost(before, after)
