"""The backups to keep: the last ones, the newest of each of the last days, weeks and months that have any, and always a
good one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ops.archive.name import ArchiveName, is_ahead
from ops.errors import OpsError
from ops.settings import Keep
from ops.text.language import Text

Backup = tuple[ArchiveName, Path]


def check_policy(keep: Keep) -> None:
    """Raises OpsError for a policy that would keep nothing, or is invalid."""
    numbers = {"last": keep.last, "daily": keep.daily, "weekly": keep.weekly, "monthly": keep.monthly}
    for name, number in numbers.items():
        if number < 0:
            raise OpsError(
                Text(
                    en=f"backup.keep.{name}: {number} makes no sense; write 0 or more",
                    zh=f"backup.keep.{name}：{number} 无效；请填写 0 或更大的数",
                )
            )
    if not any(numbers.values()):
        raise OpsError(
            Text(
                en="backup.keep: this would keep no backup at all; set last, daily, weekly or monthly to 1 or more",
                zh="backup.keep：这样一份备份也不会保留；请把 last、daily、weekly 或 monthly 设为 1 或更大",
            )
        )


def to_remove(
    backups: Sequence[Backup],
    keep: Keep,
    is_good: Callable[[Path], bool],
    *,
    now: float,
    pinned: Collection[Path] = (),
) -> list[Backup]:
    """The backups that the policy does not keep, the oldest first. Each host's backups are counted separately.

    ``is_good`` is called only if the answer matters: a broken backup is not kept instead of a good one, and the newest
    good one stays whatever the policy says. If none is good, nothing is removed. ``pinned`` ones, and those with a time
    after ``now`` (Unix time), stay and take no other's place. Raises OpsError."""
    check_policy(keep)
    counted = [each for each in backups if each[1] not in pinned and not is_ahead(each[0], now)]
    removed: list[Backup] = []
    for host in {name.host for name, _ in counted}:
        removed += _to_remove(sorted((b for b in counted if b[0].host == host), reverse=True), keep, is_good)
    return sorted(removed)


def _to_remove(newest_first: list[Backup], keep: Keep, is_good: Callable[[Path], bool]) -> list[Backup]:
    remaining = {path for _, path in newest_first[: keep.last]}
    for number, period in ((keep.daily, _day), (keep.weekly, _week), (keep.monthly, _month)):
        buckets: dict[tuple[int, ...], list[Path]] = {}
        for name, path in newest_first:
            buckets.setdefault(period(name), []).append(path)
        for rivals in list(buckets.values())[:number]:
            remaining.add(_best(rivals, is_good))
    going = [backup for backup in newest_first if backup[1] not in remaining]
    if not going:
        return []
    safe = next((path for _, path in newest_first if is_good(path)), None)
    if safe is None:
        return []
    return [backup for backup in going if backup[1] != safe]


def _best(rivals: list[Path], is_good: Callable[[Path], bool]) -> Path:
    if len(rivals) == 1:
        return rivals[0]
    return next((path for path in rivals if is_good(path)), rivals[0])


def _day(name: ArchiveName) -> tuple[int, ...]:
    time = datetime.fromtimestamp(name.created_at, UTC)
    return (time.year, time.month, time.day)


def _week(name: ArchiveName) -> tuple[int, ...]:
    return datetime.fromtimestamp(name.created_at, UTC).isocalendar()[:2]


def _month(name: ArchiveName) -> tuple[int, ...]:
    time = datetime.fromtimestamp(name.created_at, UTC)
    return (time.year, time.month)
