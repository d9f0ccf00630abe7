"""Which backups stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import backup as backups_of
from ops.archive.name import ArchiveName, parse_name, pin_path
from ops.backup import pin_backup, prune_backups
from ops.backups.retention import to_remove
from ops.errors import OpsError
from ops.settings import BackupSettings, Keep, Settings

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def backup(days_ago: float, host: str = "web1") -> tuple[ArchiveName, Path]:
    name = ArchiveName((NOW - timedelta(days=days_ago)).timestamp(), 1, host, "zst", False)
    return name, Path(str(name))


def kept(
    backups: list[tuple[ArchiveName, Path]], keep: Keep, bad: frozenset[Path] = frozenset()
) -> list[float]:
    removals = to_remove(backups, keep, lambda path: path not in bad, now=NOW.timestamp())
    return sorted(
        (NOW.timestamp() - name.created_at) / 86400 for name, path in backups if (name, path) not in removals
    )


def test_the_newest_of_each_day_week_and_month_stays() -> None:
    daily = [backup(day) for day in range(100)] + [backup(day + 0.1) for day in range(100)]
    # 2026-11-22 is a Sunday: the weeks before it end 7, 14, 21 days ago; October ended 22 days ago.
    assert kept(daily, Keep(last=0, daily=3, weekly=0, monthly=0)) == [0, 1, 2]
    assert kept(daily, Keep(last=0, daily=0, weekly=4, monthly=0)) == [0, 7, 14, 21]
    assert kept(daily, Keep(last=0, daily=0, weekly=0, monthly=3)) == [0, 22, 53]
    assert kept(daily, Keep(last=0, daily=3, weekly=4, monthly=3)) == [0, 1, 2, 7, 14, 21, 22, 53]


def test_days_without_a_backup_do_not_count() -> None:
    assert kept(
        [backup(1), backup(40), backup(41), backup(300)], Keep(last=0, daily=3, weekly=0, monthly=0)
    ) == [
        1,
        40,
        41,
    ]


def test_the_last_good_one_stays_whatever_the_policy_says() -> None:
    backups = [backup(day) for day in range(10)]
    bad = frozenset(path for _, path in backups[:8])
    assert 8 in kept(backups, Keep(last=0, daily=2, weekly=0, monthly=0), bad)


def test_where_none_is_good_nothing_is_removed() -> None:
    backups = [backup(day) for day in range(10)]
    bad = frozenset(path for _, path in backups)
    assert len(kept(backups, Keep(last=0, daily=1, weekly=0, monthly=0), bad)) == 10


def test_a_broken_one_is_not_kept_in_place_of_a_good_one_of_the_same_day() -> None:
    newer, older = backup(1), backup(1.1)
    assert kept(
        [backup(0), newer, older], Keep(last=0, daily=2, weekly=0, monthly=0), frozenset([newer[1]])
    ) == [
        0,
        pytest.approx(1.1),
    ]


def test_the_last_ones_stay_whatever_their_time() -> None:
    """A backup made by hand before a change is not removed by the one an hour later."""
    by_hand, hour = backup(10 / 24), 1 / 24
    hourly = [backup(number * hour) for number in range(10)]
    assert kept([*hourly[:9], by_hand], Keep())[-1] == pytest.approx(10 / 24)
    only_daily = Keep(last=3, daily=1, weekly=0, monthly=0)
    assert kept(hourly, only_daily) == pytest.approx([0, hour, 2 * hour])


def test_a_pinned_one_stays_and_takes_no_place() -> None:
    backups = [backup(0), backup(1), backup(200)]
    removals = to_remove(
        backups,
        Keep(last=0, daily=1, weekly=0, monthly=0),
        lambda _: True,
        now=NOW.timestamp(),
        pinned=[backups[0][1], backups[2][1]],
    )
    assert removals == []


def test_a_time_in_the_future_is_no_newest_and_displaces_nothing() -> None:
    backups = [backup(-3000), backup(-1), backup(0), backup(1)]
    assert kept(backups, Keep(last=1, daily=0, weekly=0, monthly=0)) == [-3000, -1, 0]


def test_hosts_count_by_themselves() -> None:
    backups = [backup(0), backup(1), backup(50, "web2"), backup(51, "web2")]
    assert kept(backups, Keep(last=0, daily=1, weekly=0, monthly=0)) == [0, 50]


@pytest.mark.parametrize("keep", [Keep(last=0, daily=0, weekly=0, monthly=0), Keep(daily=-1)])
def test_a_policy_that_keeps_nothing_is_refused(keep: Keep) -> None:
    with pytest.raises(OpsError, match=r"backup\.keep"):
        to_remove([backup(0)], keep, lambda _: True, now=NOW.timestamp())


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=40, unique_by=lambda pair: pair[0]
    ),
    st.builds(
        Keep,
        last=st.integers(0, 3),
        daily=st.integers(0, 9),
        weekly=st.integers(0, 9),
        monthly=st.integers(1, 9),
    ),
)
def test_the_newest_good_one_always_stays(days: list[tuple[int, bool]], keep: Keep) -> None:
    backups = {day: backup(day) for day, _ in days}
    bad = frozenset(backups[day][1] for day, good in days if not good)
    remaining = kept(list(backups.values()), keep, bad)
    newest_good = min((day for day, good in days if good), default=None)
    assert newest_good in remaining if newest_good is not None else len(remaining) == len(days)


@pytest.mark.parametrize(
    "name",
    [
        "gte-ops-web-1.example.com-20261122T030000Z.tar.zst",
        "gte-ops-a-20261122T030000Z.tar.gz",
        "gte-ops-a-20261122T030000Z-2.tar.zst.age",
    ],
)
def test_a_name_reads_as_it_was_written(name: str) -> None:
    assert str(parse_name(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "gte-ops-a-20261122T030000Z.tar.zst.partial",
        "gte-ops-a-20261122T030000Z.tar.zst.sha256",
        "gte-ops-a-20269922T030000Z.tar.zst",
        "gte-ops-a-20261122T030000Z-1.tar.zst",
        "letsencrypt.tgz",
        "../gte-ops-a-20261122T030000Z.tar.zst",
    ],
)
def test_what_is_no_backup_has_no_name(name: str) -> None:
    assert parse_name(name) is None


def test_one_that_is_pinned_while_the_archives_are_judged_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(backup=BackupSettings(dir=str(tmp_path)))
    unkept = [(name, tmp_path / path) for name, path in (backup(30), backup(31))]
    for _, path in unkept:
        path.write_bytes(b"")

    def judged(*_: object, **__: object) -> list[tuple[ArchiveName, Path]]:
        assert pin_backup(settings, unkept[0][1].name, pinned=True)[1]
        return unkept

    monkeypatch.setattr(backups_of, "_unkept", judged)
    assert prune_backups(settings, dry_run=False) == [unkept[1][1]]
    assert unkept[0][1].exists()
    assert pin_path(unkept[0][1]).exists()


def test_one_that_is_removed_while_it_is_to_be_pinned_is_not_called_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / backup(30)[1]
    path.write_bytes(b"")
    # Who holds it removes it, and lets go.
    monkeypatch.setattr("fcntl.flock", lambda *_: path.unlink())
    with pytest.raises(OpsError, match="No such file"):
        pin_backup(Settings(backup=BackupSettings(dir=str(tmp_path))), path.name, pinned=True)
    assert list(tmp_path.iterdir()) == []
