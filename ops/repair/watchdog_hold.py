"""Keep the watchdog and --fix, or the watchdog and an upgrade, from acting at the same time.

If somebody has paused the watchdog, --fix does not start, stop or reload anything either: that is the meaning of a
pause. If the watchdog runs from cron, --fix takes its lock. If it is resident, --fix pauses it. An upgrade is what a
person asks for, pause or not; it needs the watchdog at rest until it ends, however long that takes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OpsError
from ops.settings import Settings
from ops.supervision.state_store import Lock, LockedError, Pause, StateStore, clocks
from ops.text.language import Text
from ops.text.sanitize import safe_line
from ops.text.timestamps import local_time

BY = "gte-ops doctor --fix"
# Longer than any run: after a run that was killed the pause ends by itself.
PAUSE_SECONDS = 900.0
BY_UPGRADE = "gte-ops upgrade"
# How often a pause is looked at that must last.
RENEW_SECONDS = 60.0
# How long the watchdog's present cycle may take, beyond its interval.
CYCLE_SECONDS = 10.0


class NotHeldError(OpsError):
    """The watchdog could act; nothing was done."""

    exit_code = 2


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
            yield WatchdogHold(_unpaused(error))
            return
        stack.callback(_resume, store, own)
        locked = _wait_for_its_cycle(settings, store, own.since, stack)
        if locked is None:
            yield WatchdogHold(_BUSY)
            return
        yield WatchdogHold(_pending(store), locked=locked)


@contextmanager
def keep_watchdog_at_rest(settings: Settings) -> Iterator[None]:
    """Keep the watchdog from acting until the context ends, however long it lasts; a killed process's pause ends by
    itself. A person's pause is lengthened where it ends sooner, and put back. Raises NotHeldError."""
    store = StateStore(Path(settings.watchdog.state_file))
    began, pause = time.time(), _LastingPause(store)
    with contextlib.ExitStack() as stack:
        stack.callback(pause.end)
        try:
            pause.renew()
        except OSError as error:
            # Where none runs, its lock does as well.
            if not _try_lock(store.path, stack):
                raise _not_held(_unpaused(error)) from None
        else:
            # Not its lock, beyond this moment: an upgrade starts a watchdog anew, which must come up.
            with contextlib.ExitStack() as lock:
                if _wait_for_its_cycle(settings, store, began, lock) is None:
                    raise _not_held(_BUSY)
            stack.enter_context(pause.renewed())
        yield


class _LastingPause:
    """A pause that is renewed until it is ended. A longer one of somebody else's stays as it is."""

    def __init__(self, store: StateStore) -> None:
        self._store, self._own = store, list[Pause]()
        self._former = store.paused(time.time())

    def renew(self) -> None:
        """Have a pause in force for `PAUSE_SECONDS`. Raises OSError."""
        now = time.time()
        present = self._store.paused(now)
        if present is None or present.until < now + PAUSE_SECONDS - RENEW_SECONDS / 2:
            own = Pause(until=now + PAUSE_SECONDS, since=now, by=BY_UPGRADE)
            self._store.pause(own)
            self._own.append(own)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it meanwhile, in a thread: what is waited for takes as long as it takes."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(RENEW_SECONDS):
                with contextlib.suppress(OSError):  # what is in force lasts longer than many attempts
                    self.renew()

        thread = threading.Thread(target=keep, name="watchdog pause", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def end(self) -> None:
        """End our own; put back what remains of the one before; leave one that somebody has set meanwhile."""
        now = time.time()
        with contextlib.suppress(OSError):
            if self._store.paused(now) not in self._own:
                return
            if self._former is not None and now < self._former.until:
                self._store.pause(self._former)
            else:
                self._store.resume()


_BUSY = Text(
    en="a watchdog is still busy; see gte-ops watchdog status",
    zh="watchdog 仍在处理，没有停下；请看 gte-ops watchdog status",
)


def _unpaused(error: OSError) -> Text:
    why = safe_line(str(error))
    return Text(en=f"a watchdog runs, and cannot be paused: {why}", zh=f"watchdog 正在运行且无法暂停：{why}")


def _not_held(why: Text) -> NotHeldError:
    return NotHeldError(
        Text(
            en=f"{why.en}; stop the watchdog (systemctl stop gte-ops-watchdog), then again",
            zh=f"{why.zh}；请停止 watchdog（systemctl stop gte-ops-watchdog）后重试",
        )
    )


def _wait_for_its_cycle(
    settings: Settings, store: StateStore, since: float, stack: contextlib.ExitStack
) -> bool | None:
    """Wait until the watchdog has seen the pause (False) or has ended, so that its lock is ours (True). None: neither
    in time."""
    give_up = time.monotonic() + float(settings.watchdog.interval) + CYCLE_SECONDS
    while time.monotonic() < give_up:
        if _try_lock(store.path, stack):
            return True
        last_cycle = store.load(clocks()).clocks
        if last_cycle is not None and last_cycle.wall > since:
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
        zh=f"watchdog 刚执行了动作（{pending.kind}），正在等结果；稍后再看",
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
