"""How the service was started, from round to round: read while it serves, held against what a restart brought up.

Whoever else starts the service decides how: a master that the watchdog did not start is remembered as it is. One that
it did start has to have what the one before it had (`ops/control/launch.py`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ops.control import launch
from ops.control.launch import Launch, Remembered
from ops.interpret.process_ref import ProcessRef
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.health import ALIVE, Assessment
from ops.supervision.observation import Observation
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import boot_id
from ops.supervision.time_limit import BlockedError, within
from ops.text.sanitize import safe_line

READ_SECONDS = 2.0


class Launches:
    """What is remembered at ``path``; `gte-ops watchdog forget` removes it."""

    def __init__(self, path: Path, journal: WatchdogJournal) -> None:
        self._path, self._journal = path, journal
        self._trouble = ""

    def compare(self, look: Observation, memory: WatchdogState) -> WatchdogState:
        """``memory`` with what the present master lacks, where a restart of the watchdog's brought it up."""
        kept = launch.load(self._path)
        if kept is None or look.master is None:
            return msgspec.structs.replace(memory, environment_lost=(), other_user=False)
        master = ProcessRef(look.master.pid, look.master.start_ticks)
        since = memory.restarting_since
        is_same = kept.master == master and kept.boot_id == boot_id()
        # A start in ticks of 10 ms may seem a little earlier than the clock it is held against.
        if not is_same and since is not None and look.master.started >= since - 1.0:
            now = _read(master.pid)
            gone = _lost(kept.launch, now) if now is not None else ()
            other_user = now is not None and now.account.uid != kept.launch.account.uid
            kept = Remembered(kept.launch, master, boot_id(), gone, other_user)
            self._save(kept)
            if gone or other_user:
                self._journal.note("environment_changed", pid=master.pid, without=gone, other_user=other_user)
            is_same = True
        if not is_same:
            return msgspec.structs.replace(memory, environment_lost=(), other_user=False)
        return msgspec.structs.replace(memory, environment_lost=kept.lost, other_user=kept.other_user)

    def remember(self, verdict: Assessment, look: Observation, memory: WatchdogState) -> None:
        """Remember how a master was started that serves and that the watchdog did not start, once of each."""
        if look.master is None or verdict.state not in ALIVE or memory.pending is not None:
            return
        master = ProcessRef(look.master.pid, look.master.start_ticks)
        kept = launch.load(self._path)
        if kept is not None and kept.master == master and kept.boot_id == boot_id():
            return
        now = _read(master.pid)
        if now is not None:
            self._save(Remembered(now, master, boot_id()))
        elif kept is not None:
            # What it was started with cannot be read: the one before it is no guide.
            launch.forget(self._path)

    def _save(self, kept: Remembered) -> None:
        try:
            launch.save(self._path, kept)
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
    # What systemd starts gets what its unit says, as before: whoever edits the unit means it.
    return () if before.is_by_systemd and after.is_by_systemd else launch.lost(before, after)
