"""The watchdog and --fix do not act at the same time: one of them holds still.

Where the watchdog is paused by somebody, nothing is started, stopped or reloaded by --fix either: that is what a pause
means. Where it runs from cron, its lock is taken meanwhile. Where it is resident, it is paused meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.settings import Settings
from ops.supervision.state_store import Lock, LockedError, Pause, StateStore, clocks
from ops.text.language import Text
from ops.text.sanitize import safe_line
from ops.text.timestamps import local_time

BY = "gte-ops doctor --fix"
# Longer than any run; one that is killed leaves a pause that ends by itself.
PAUSE_SECONDS = 900.0
# Beyond the watchdog's interval, how long its present round may take.
ROUND_SECONDS = 10.0


@dataclass(frozen=True)
class WatchdogHold:
    """``refusal``: why gunicorn and nginx must be left alone, None where they are ours. ``locked``: we hold the
    watchdog's lock, and may write to its memory."""

    refusal: Text | None
    locked: bool = False


@contextmanager
def truce(settings: Settings) -> Iterator[WatchdogHold]:
    """Have the watchdog hold still as long as this lasts."""
    ledger = StateStore(Path(settings.watchdog.state_file))
    if (pause := ledger.paused(time.time())) is not None:
        yield WatchdogHold(_paused(pause))
        return
    with contextlib.ExitStack() as held:
        if _try_lock(ledger.path, held):
            yield WatchdogHold(_pending(ledger), locked=True)
            return
        own = Pause(until=time.time() + PAUSE_SECONDS, since=time.time(), by=BY)
        try:
            ledger.pause(own)
        except OSError as error:
            why = safe_line(str(error))
            yield WatchdogHold(
                Text(
                    en=f"a watchdog runs, and cannot be paused: {why}",
                    zh=f"watchdog 正在运行且无法暂停：{why}",
                )
            )
            return
        held.callback(_resume, ledger, own)
        locked = _wait_for_its_round(settings, ledger, own, held)
        if locked is None:
            yield WatchdogHold(
                Text(
                    en="a watchdog is at work, and did not come to rest; see gte-ops watchdog status",
                    zh="watchdog 正在处理，未停下来；请看 gte-ops watchdog status",
                )
            )
            return
        yield WatchdogHold(_pending(ledger), locked=locked)


def _wait_for_its_round(
    settings: Settings, ledger: StateStore, own: Pause, held: contextlib.ExitStack
) -> bool | None:
    """Until the watchdog has seen the pause, or has ended: then its lock is ours (True). None: neither in time."""
    give_up = time.monotonic() + float(settings.watchdog.interval) + ROUND_SECONDS
    while time.monotonic() < give_up:
        if _try_lock(ledger.path, held):
            return True
        seen = ledger.load(clocks()).clocks
        if seen is not None and seen.wall > own.since:
            return False
        time.sleep(0.1)
    return None


def _try_lock(path: Path, held: contextlib.ExitStack) -> bool:
    try:
        held.enter_context(Lock(path))
    except LockedError:
        return False
    return True


def _pending(ledger: StateStore) -> Text | None:
    pending = ledger.load(clocks()).pending
    if pending is None or time.clock_gettime(time.CLOCK_BOOTTIME) > pending.until:
        return None
    return Text(
        en=f"the watchdog has just acted ({pending.rung}) and waits for the effect; look again when that is over",
        zh=f"watchdog 刚采取了措施（{pending.rung}），正在等结果；稍后再看",
    )


def _paused(pause: Pause) -> Text:
    offset = int(time.localtime(pause.until).tm_gmtoff)
    until = local_time(pause.until, offset).strftime("%H:%M:%S")
    by = safe_line(pause.by, 80) or "?"
    return Text(
        en=f"somebody works here: the watchdog is paused until {until} by {by}; gte-ops watchdog resume ends it",
        zh=f"有人正在维护：watchdog 已被 {by} 暂停到 {until}；用 gte-ops watchdog resume 结束暂停",
    )


def _resume(ledger: StateStore, own: Pause) -> None:
    """End our pause; one that somebody has set meanwhile is theirs."""
    with contextlib.suppress(OSError):
        if ledger.paused(time.time()) == own:
            ledger.resume()
