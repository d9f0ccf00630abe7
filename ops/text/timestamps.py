"""A moment as the host that was looked at would write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

_DAY = 86400
_LAST = datetime.max.replace(tzinfo=UTC).timestamp() - 2 * _DAY


def local_time(moment: float, utc_offset: int) -> datetime:
    """``moment`` (Unix seconds) at ``utc_offset`` (seconds east). What no calendar holds becomes the nearest it does:
    both may come from a file that somebody else made."""
    zone = timezone(timedelta(seconds=max(1 - _DAY, min(utc_offset, _DAY - 1))))
    bounded = max(0.0, min(moment, _LAST)) if moment == moment else 0.0
    return datetime.fromtimestamp(bounded, UTC).astimezone(zone)
