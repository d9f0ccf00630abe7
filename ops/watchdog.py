"""`gte-ops watchdog`: the two ways to run its rounds (`ops/supervision/cycle.py`), from cron and as a service."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OpsError
from ops.settings import Settings, load_settings
from ops.supervision.cycle import CycleOutcome, Watchdog
from ops.supervision.interruptible_sleep import Nap
from ops.supervision.rules import LOOK_AGAIN
from ops.supervision.sd_notify import NotifySocket
from ops.supervision.sentences import RUNGS, STATES
from ops.supervision.state_store import Lock, refuse_shared_directory, remove_left_over
from ops.text.language import Text
from ops.text.sanitize import safe_line

# How long `--once` waits for the effect of what it did; the next run goes on where it stopped.
PATIENCE_ONCE = 60.0
# Looks that `--once` adds while a worker is suspected: two dumps have to lie some seconds apart.
CLOSER_LOOKS = 3
ACTED = 1


@dataclass(frozen=True)
class OnceResult:
    """What a run of `--once` came to."""

    exit_code: int
    outcome: CycleOutcome
    acted: bool


def run_once(watchdog: Watchdog) -> OnceResult:
    """One round, and as many looks after it as proving or verifying takes. Call it with the lock held."""
    watchdog.check_state()
    outcome = watchdog.round()
    acted = outcome.acted
    stop_at = time.monotonic() + min(PATIENCE_ONCE, watchdog.rules.boot_deadline + 10.0)
    looks = 0
    while outcome.again_after is not None and time.monotonic() < stop_at:
        if not acted and watchdog.memory.pending is None:
            looks += 1
            if looks > CLOSER_LOOKS:
                break
        time.sleep(outcome.again_after)
        outcome = watchdog.round(counts=False)
        acted = acted or outcome.acted
    watchdog.teller.deliver_beside()
    watchdog.teller.finish(10.0)
    if acted and outcome.exit_code == 0:
        return OnceResult(ACTED, outcome, acted)
    return OnceResult(outcome.exit_code, outcome, acted)


def run_service(watchdog: Watchdog, notify: NotifySocket) -> None:
    """Round after round until SIGTERM or SIGINT; SIGHUP reads the configuration again. Call it with the lock held."""
    ended, hup = threading.Event(), threading.Event()
    nap = Nap()

    def on_end(_number: int, _frame: object) -> None:
        ended.set()

    def on_hup(_number: int, _frame: object) -> None:
        hup.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_end)
    signal.signal(signal.SIGHUP, on_hup)
    watchdog.check_state()
    watchdog.journal.note("started", interval=watchdog.rules.interval)
    first, gap, next_due = True, None, time.monotonic()
    while not ended.is_set():
        if hup.is_set():
            hup.clear()
            notify.reloading()
            watchdog = _reread(watchdog)
            notify.ready()
        counts = time.monotonic() >= next_due - 0.001
        if counts:
            next_due = time.monotonic() + watchdog.rules.interval
        wait = next_due - time.monotonic()
        try:
            outcome = watchdog.round(counts=counts, expected_gap=gap)
        except Exception as error:  # noqa: BLE001  a defect, or a host out of order: the next round may go well
            watchdog.journal.note("round_failed", detail=safe_line(f"{type(error).__name__}: {error}"))
        else:
            if first:
                notify.ready()
                first = False
            notify.status(status_line(watchdog, outcome))
            # Only here: a round that failed, or hangs, is no sign of life.
            notify.alive()
            wait = next_due - time.monotonic()
            if outcome.again_after is not None:
                wait = min(wait, outcome.again_after)
        if notify.watchdog_seconds is not None:
            wait = min(wait, notify.watchdog_seconds / 2)
        gap = max(wait, LOOK_AGAIN)
        nap.sleep(max(0.05, wait), watchdog.memory.subject.master)
    notify.stopping()
    watchdog.journal.note("stopped")
    watchdog.teller.finish(2.0)


def _reread(watchdog: Watchdog) -> Watchdog:
    """The watchdog with its configuration read again; the old one where the new cannot be used."""
    try:
        settings = load_settings(watchdog.settings_path)
        if settings.watchdog.state_file != watchdog.settings.watchdog.state_file:
            raise OpsError("watchdog.state_file changed: restart the watchdog for that")
        refuse_shared_places(settings)
    except OpsError as error:
        watchdog.journal.note("configuration_kept", detail=safe_line(str(error)))
        return watchdog
    fresh = Watchdog(settings, watchdog.settings_path, watchdog.language, watchdog.journal, resident=True)
    fresh.memory = watchdog.memory
    watchdog.journal.note("configuration_read")
    return fresh


def status_line(watchdog: Watchdog, outcome: CycleOutcome) -> str:
    """One line for systemctl status and a person at the terminal."""
    words = [STATES[outcome.verdict.state].to(watchdog.language)]
    if outcome.verdict.state != "healthy":
        words.append(outcome.verdict.detail.to(watchdog.language))
    if outcome.paused:
        words.append(Text(en="paused", zh="已暂停守护").to(watchdog.language))
    if outcome.step.rung is not None:
        words.append(RUNGS[outcome.step.rung].to(watchdog.language))
    elif outcome.step.why.en:
        words.append(outcome.step.why.to(watchdog.language))
    return "; ".join(words)


def refuse_shared_places(settings: Settings) -> None:
    """Raises OpsError where others than root and the caller could change the watchdog's state or its evidence."""
    refuse_shared_directory(Path(settings.watchdog.state_file).parent)
    if settings.watchdog.evidence_dir:
        refuse_shared_directory(Path(settings.watchdog.evidence_dir))


def locked(settings: Settings) -> Lock:
    """The lock of this configuration's watchdog. Raises LockedError when entered while another holds it."""
    return Lock(Path(settings.watchdog.state_file))


def clean_up(settings: Settings) -> None:
    """Remove what a killed watchdog left half written. Call it with the lock held."""
    remove_left_over(Path(settings.watchdog.state_file))
