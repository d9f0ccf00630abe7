"""`gte-ops watchdog`: the two ways to run its cycles (`ops/supervision/cycle.py`), from cron and as a service."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.errors import OpsError
from ops.files.start_ticks import start_ticks
from ops.settings import Settings, load_settings
from ops.supervision.cycle import CycleOutcome, Watchdog
from ops.supervision.interruptible_sleep import InterruptibleSleep
from ops.supervision.rules import LOOK_AGAIN
from ops.supervision.sd_notify import NotifySocket
from ops.supervision.sentences import ACTIONS, STATES
from ops.supervision.state import ServiceState
from ops.supervision.state_store import Lock, refuse_shared_directory, remove_left_over
from ops.text.language import Text
from ops.text.sanitize import safe_line

if TYPE_CHECKING:
    from ops.notifications.ping import WatchdogPing

# How long a run of `--once` lasts at most, in seconds since its process began: cron's next is due after 60. A later run
# goes on from there.
ONCE_SECONDS = 45.0
# Of these, what is left for the rest of the cycle once a start has been waited for.
AFTER_START_SECONDS = 5.0
# Start-up that counts at most: a shell that has slept and then becomes this program passes its age on (exec).
LONGEST_STARTUP = 15.0
# Seconds that one cycle may take, the doctor's report and messages among them.
CYCLE_SECONDS = 10.0
# Cycles that `--once` adds while a worker is suspected: two dumps must be some seconds apart.
EXTRA_CYCLES = 3
ACTED = 1


@dataclass(frozen=True)
class OnceResult:
    """The result of a run of `--once`."""

    exit_code: int
    outcome: CycleOutcome
    acted: bool


def run_once(watchdog: Watchdog) -> OnceResult:
    """One cycle, and the extra cycles that evidence or the effect of an action needs. Call it with the lock held."""
    stop_at = time.monotonic() + ONCE_SECONDS - min(LONGEST_STARTUP, age_of_this_process())
    watchdog.actor.deadline = stop_at - AFTER_START_SECONDS
    watchdog.check_state()
    outcome = watchdog.run_cycle()
    acted = outcome.acted
    extra = 0
    while (
        outcome.again_after is not None and time.monotonic() + outcome.again_after < stop_at - CYCLE_SECONDS
    ):
        if not acted and watchdog.state.pending is None:
            extra += 1
            if extra > EXTRA_CYCLES:
                break
        time.sleep(outcome.again_after)
        outcome = watchdog.run_cycle(counts=False)
        acted = acted or outcome.acted
    ping = _ping(watchdog)
    if ping is not None:
        ping.after_cycle(outcome.exit_code)
    watchdog.notifier.deliver_beside()
    watchdog.notifier.finish(max(1.0, min(10.0, stop_at - time.monotonic())))
    if ping is not None and (failure := ping.wait()) is not None:
        watchdog.journal.note("ping_failed", destination=failure.destination, detail=failure.reason.en)
    if acted and outcome.exit_code == 0:
        return OnceResult(ACTED, outcome, acted)
    return OnceResult(outcome.exit_code, outcome, acted)


def age_of_this_process() -> float:
    """Seconds since this process was started, its imports included; 0 if the kernel does not tell."""
    ticks = start_ticks(os.getpid())
    if not ticks:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def _ping(watchdog: Watchdog) -> WatchdogPing | None:
    """The dead man's switch of the watchdog, where one is configured."""
    if not watchdog.settings.notify.ping.watchdog:
        return None
    from ops.notifications.ping import WatchdogPing

    return WatchdogPing(watchdog.settings)


def run_service(watchdog: Watchdog, notify: NotifySocket) -> None:
    """Run cycles until SIGTERM or SIGINT; SIGHUP reads the configuration again. Call it with the lock held."""
    ended, hup = threading.Event(), threading.Event()
    sleep = InterruptibleSleep()

    def on_end(_number: int, _frame: object) -> None:
        ended.set()

    def on_hup(_number: int, _frame: object) -> None:
        hup.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_end)
    signal.signal(signal.SIGHUP, on_hup)
    watchdog.check_state()
    watchdog.journal.note("started", interval=watchdog.rules.interval)
    ping = _ping(watchdog)
    first, gap, next_due = True, None, time.monotonic()
    while not ended.is_set():
        if hup.is_set():
            hup.clear()
            notify.reloading()
            watchdog = _reread(watchdog)
            if ping is not None:
                ping.stop()
            ping = _ping(watchdog)
            notify.ready()
        counts = time.monotonic() >= next_due - 0.001
        if counts:
            next_due = time.monotonic() + watchdog.rules.interval
        wait = next_due - time.monotonic()
        try:
            outcome = watchdog.run_cycle(counts=counts, expected_gap=gap)
        except Exception as error:  # noqa: BLE001  a defect, or a broken host: the next cycle may succeed
            watchdog.journal.note("round_failed", detail=safe_line(f"{type(error).__name__}: {error}"))
        else:
            if first:
                notify.ready()
                first = False
            notify.status(status_line(watchdog, outcome))
            # Only here: a cycle that failed, or hangs, is no sign of life.
            notify.alive()
            if ping is not None:
                ping.after_cycle(outcome.exit_code)
            wait = next_due - time.monotonic()
            if outcome.again_after is not None:
                wait = min(wait, outcome.again_after)
        if notify.watchdog_seconds is not None:
            wait = min(wait, notify.watchdog_seconds / 2)
        gap = max(wait, LOOK_AGAIN)
        sleep.sleep(max(0.05, wait), watchdog.state.subject.master)
    notify.stopping()
    if ping is not None:
        ping.stop()
    watchdog.journal.note("stopped")
    watchdog.notifier.finish(2.0)


def _reread(watchdog: Watchdog) -> Watchdog:
    """The watchdog with its configuration read again; the old one if the new configuration cannot be used."""
    try:
        settings = load_settings(watchdog.settings_path)
        if settings.watchdog.state_file != watchdog.settings.watchdog.state_file:
            raise OpsError(
                Text(
                    en="watchdog.state_file changed: restart the watchdog for that",
                    zh="watchdog.state_file 已改变：需重启 watchdog 才能生效",
                )
            )
        refuse_shared_places(settings)
    except OpsError as error:
        watchdog.journal.note("configuration_kept", detail=safe_line(str(error)))
        return watchdog
    renewed = Watchdog(settings, watchdog.settings_path, watchdog.language, watchdog.journal, resident=True)
    renewed.state = watchdog.state
    watchdog.journal.note("configuration_read")
    return renewed


def status_line(watchdog: Watchdog, outcome: CycleOutcome) -> str:
    """One line, for systemctl status and for a person at the terminal."""
    parts = [STATES[outcome.assessment.state].to(watchdog.language)]
    if outcome.assessment.state != ServiceState.HEALTHY:
        parts.append(outcome.assessment.detail.to(watchdog.language))
    if outcome.paused:
        parts.append(Text(en="paused", zh="已暂停守护").to(watchdog.language))
    if outcome.step.action is not None:
        parts.append(ACTIONS[outcome.step.action].to(watchdog.language))
    elif outcome.step.why.en:
        parts.append(outcome.step.why.to(watchdog.language))
    return "; ".join(parts)


def refuse_shared_places(settings: Settings) -> None:
    """Raises OpsError if others than root and the caller could change the watchdog's state or its evidence."""
    refuse_shared_directory(Path(settings.watchdog.state_file).parent)
    if settings.watchdog.evidence_dir:
        refuse_shared_directory(Path(settings.watchdog.evidence_dir))


def locked(settings: Settings) -> Lock:
    """The lock of this configuration's watchdog. Raises LockedError when entered while another holds it."""
    return Lock(Path(settings.watchdog.state_file))


def clean_up(settings: Settings) -> None:
    """Remove what a killed watchdog left half-written. Call it with the lock held."""
    remove_left_over(Path(settings.watchdog.state_file))
