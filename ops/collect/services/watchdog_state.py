"""Read the watchdog's own state from its state file."""

from __future__ import annotations

import msgspec

from ops.collect.process.boot_clock import boot_id, calendar_time
from ops.facts.base import NotSeen
from ops.facts.safeguards import WatchdogAction, WatchdogFacts
from ops.files.bounded_read import read_regular_file
from ops.text.sanitize import safe_line

MAX_FILE_BYTES = 4 << 20


class _Clocks(msgspec.Struct):
    wall: float
    boottime: float | None = None


class _Action(msgspec.Struct):
    wall: float = 0.0
    rung: str = ""
    pid: int | None = None


class _State(msgspec.Struct):
    """The part of the file that is read here; `ops/supervision/state.py` has the rest."""

    boot_id: str = ""
    clocks: _Clocks | None = None

    holding: bool = False
    futile: bool = False
    actions: list[_Action] = []

    def last_round(self) -> float | None:
        """When the last cycle was, as the clock is set now: it may have been set since, if that was in this boot."""
        if self.clocks is None or self.clocks.boottime is None or self.boot_id != boot_id():
            return self.clocks.wall if self.clocks is not None else None
        return calendar_time(self.clocks.boottime)


def watchdog_state(path: str, interval: float) -> WatchdogFacts | NotSeen:
    """Return the state in ``path``; NotSeen if no watchdog has ever written it, or it cannot be read."""
    try:
        state = msgspec.json.decode(read_regular_file(path, MAX_FILE_BYTES).content, type=_State)
    except FileNotFoundError:
        return NotSeen(reason=f"{path} does not exist: no watchdog has run", is_lasting=True)
    except PermissionError:
        return NotSeen(reason=f"{path} may not be read", needs_root=True)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        return NotSeen(reason=safe_line(f"{path} cannot be read: {error}"))
    return WatchdogFacts(
        path=path,
        last_round=state.last_round(),
        gave_up=state.holding or state.futile,
        actions=len(state.actions),
        interval=interval,
        done=tuple(
            WatchdogAction(time=action.wall, rung=safe_line(action.rung, 40), pid=action.pid)
            for action in state.actions
        ),
    )
