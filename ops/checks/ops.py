"""The safeguards themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ops.duration import age
from ops.finding import Evidence, Finding, NotJudgedError, check
from ops.language import Text
from ops.snapshot import NotSeen, WatchdogState


@check("ops.watchdog", "OPS007", en="the watchdog still acts", zh="watchdog 仍在起作用")
def watchdog(taken_at: float, watchdog: WatchdogState | NotSeen) -> Iterator[Finding]:
    """OPS007: the watchdog's state says that it holds still. Where none has run there is nothing to hold."""
    if isinstance(watchdog, NotSeen):
        if watchdog.needs_root:
            raise NotJudgedError(watchdog)
        return
    if watchdog.gave_up:
        ago = age(max(0.0, taken_at - watchdog.last_round)) if watchdog.last_round is not None else "?"
        yield Finding(
            "OPS007",
            (
                Evidence(
                    watchdog.path,
                    Text(
                        en=f"holding still after {watchdog.actions} actions; last round {ago} ago",
                        zh=f"已采取 {watchdog.actions} 次措施，目前按兵不动；上次检查在 {ago} 前",
                    ),
                ),
            ),
            {"restarts": str(watchdog.actions)},
        )


CHECKS = (watchdog,)
