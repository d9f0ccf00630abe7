"""Keep the watchdog and --fix from acting at the same time.

If somebody has paused the watchdog, --fix does not start, stop or reload anything either: that is the meaning of a
pause. If the watchdog runs from cron, --fix takes its lock. If it is resident, --fix pauses it.
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
# Longer than any run: after a run that was killed the pause ends by itself.
PAUSE_SECONDS = 900.0
# How long the watchdog's present cycle may take, beyond its interval.
CYCLE_SECONDS = 10.0


@dataclass(frozen=True)
class WatchdogHold:
    """``refusal``: why gunicorn and nginx must be left alone, None if --fix may act. ``locked``: --fix holds the
    watchdog's lock, and may write its state."""

    refusal: Text | None
    locked: bool = False


@contextmanager
def hold_watchdog(settings: Settings) -> Iterator[WatchdogHold]:
    """Keep the watchdog from acting while the context lasts."""
    store = StateStore(Path(settings.watchdog.state_file))
    if (pause := store.paused(time.time())) is not None:
        yield WatchdogHold(_paused(pause))
        return
    with contextlib.ExitStack() as stack:
        if _try_lock(store.path, stack):
            yield WatchdogHold(_pending(store), locked=True)
            return
        own = Pause(until=time.time() + PAUSE_SECONDS, since=time.time(), by=BY)
        try:
            store.pause(own)
        except OSError as error:
            why = safe_line(str(error))
            yield WatchdogHold(
                Text(
                    en=f"a watchdog runs, and cannot be paused: {why}",
                    zh=f"watchdog 正在运行且无法暂停：{why}",
                )
            )
            return
        stack.callback(_resume, store, own)
        locked = _wait_for_its_cycle(settings, store, own, stack)
        if locked is None:
            yield WatchdogHold(
                Text(
                    en="a watchdog is still busy; see gte-ops watchdog status",
                    zh="watchdog 仍在处理，没有停下；请看 gte-ops watchdog status",
                )
            )
            return
        yield WatchdogHold(_pending(store), locked=locked)


def _wait_for_its_cycle(
    settings: Settings, store: StateStore, own: Pause, stack: contextlib.ExitStack
) -> bool | None:
    """Wait until the watchdog has seen the pause (False) or has ended, so that its lock is ours (True). None: neither
    in time."""
    give_up = time.monotonic() + float(settings.watchdog.interval) + CYCLE_SECONDS
    while time.monotonic() < give_up:
        if _try_lock(store.path, stack):
            return True
        last_cycle = store.load(clocks()).clocks
        if last_cycle is not None and last_cycle.wall > own.since:
            return False
        time.sleep(0.1)
    return None


def _try_lock(path: Path, stack: contextlib.ExitStack) -> bool:
    try:
        stack.enter_context(Lock(path))
    except LockedError:
        return False
    return True


def _pending(store: StateStore) -> Text | None:
    pending = store.load(clocks()).pending
    if pending is None or time.clock_gettime(time.CLOCK_BOOTTIME) > pending.until:
        return None
    return Text(
        en=f"the watchdog has just acted ({pending.kind}) and waits for the effect; look again when that is over",
        zh=f"watchdog 刚采取了措施（{pending.kind}），正在等结果；稍后再看",
    )


def _paused(pause: Pause) -> Text:
    offset = int(time.localtime(pause.until).tm_gmtoff)
    until = local_time(pause.until, offset).strftime("%H:%M:%S")
    by = safe_line(pause.by, 80) or "?"
    return Text(
        en=f"maintenance: the watchdog is paused until {until} by {by}; gte-ops watchdog resume ends it",
        zh=f"有人正在维护：watchdog 已被 {by} 暂停到 {until}；用 gte-ops watchdog resume 结束暂停",
    )


def _resume(store: StateStore, own: Pause) -> None:
    """End our own pause; leave one that somebody has set meanwhile."""
    with contextlib.suppress(OSError):
        if store.paused(time.time()) == own:
            store.resume()
