"""What is read off the machine: the daemons' words, what fills a file system, control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.collect.host import clock as clock_collector
from ops.collect.host import packet_filter as filter_collector
from ops.collect.host.clock import parse_chrony, parse_timesync
from ops.collect.host.file_systems import biggest, file_systems, mount_of
from ops.collect.process.cgroups import Throttling, cpu_groups
from ops.facts.base import NotSeen

TRACKING = (
    "C0248F82,192.36.143.130,2,1795309000.123,-75.204,0.000000012,0.0001,1.2,0.0,0.1,0.03,0.001,64.4,Normal\n"
)


def test_chrony_tells_how_far_the_clock_is_off() -> None:
    clock = parse_chrony(TRACKING)
    assert clock is not None
    assert (clock.offset, clock.synchronised) == (-75.204, True)
    unsynchronised = parse_chrony(TRACKING.replace("Normal", "Not synchronised"))
    assert unsynchronised is not None
    assert not unsynchronised.synchronised


@pytest.mark.parametrize("output", ["", "506 Cannot talk to daemon\n", "a,b,c,d,e,f\n"])
def test_what_chrony_does_not_tell_is_not_made_up(output: str) -> None:
    assert parse_chrony(output) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+1min 2.5s", 62.5), ("-1.6ms", -0.0016), ("+12us", 0.000012), ("-2h 5min", -7500.0)],
)
def test_timesyncd_tells_it_as_a_time_span(text: str, seconds: float) -> None:
    clock = parse_timesync(
        f"       Server: 192.0.2.1 (ntp.example)\n       Offset: {text}\n        Delay: 20ms\n"
    )
    assert clock is not None
    assert clock.offset == pytest.approx(seconds)


def test_timesyncd_without_a_measurement_tells_nothing() -> None:
    assert parse_timesync("       Server: (null) (ntp.example)\nPacket count: 0\n") is None
    assert parse_timesync("Offset: n/a\n") is None


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_one_large_file_is_the_biggest_consumer(tmp_path: Path) -> None:
    fill(tmp_path / "log" / "access.log", 900_000)
    fill(tmp_path / "lib" / "a", 100_000)
    place, size, _ = biggest(tmp_path, [], by_entries=False)
    assert place == str(tmp_path / "log" / "access.log")
    assert size >= 900_000


def test_many_small_files_are_their_directory(tmp_path: Path) -> None:
    for number in range(50):
        fill(tmp_path / "sessions" / str(number), 10)
    fill(tmp_path / "log" / "access.log", 400_000)
    place, _, entries = biggest(tmp_path, [], by_entries=True)
    assert place == str(tmp_path / "sessions")
    assert entries == 51


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "small", 10)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to("/usr")
    place, _, entries = biggest(tmp_path, [], by_entries=True)
    assert place is not None
    assert entries <= 4


def test_an_empty_place_has_no_consumer(tmp_path: Path) -> None:
    assert biggest(tmp_path, [], by_entries=False) == (None, 0, 0)


def test_places_on_one_file_system_are_one_fact(tmp_path: Path) -> None:
    (fact,) = file_systems([str(tmp_path), str(tmp_path / "not" / "there"), str(tmp_path / "nor\0this")])
    assert fact.mount == str(mount_of(tmp_path.resolve()))
    assert fact.places == (str(tmp_path.resolve()),)
    assert 0 < fact.free <= fact.total
    assert os.stat(fact.mount).st_dev == tmp_path.stat().st_dev  # noqa: PTH116


def test_a_group_that_came_in_between_has_no_difference() -> None:
    before = {"/a": Throttling(10, 1, 0.5)}
    after = {"/a": Throttling(18, 7, 1.0), "/b": Throttling(5, 5, 1.0)}
    (group,) = cpu_groups(before, after)
    assert (group.path, group.periods, group.throttled, group.seconds) == ("/a", 8, 6, 0.5)


def test_a_time_daemon_that_does_not_answer_in_time_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "chronyc"
    slow.write_text("#!/bin/sh\nsleep 10\n")
    slow.chmod(0o755)
    monkeypatch.setattr(
        clock_collector, "trusted_program", lambda name: str(slow) if name == "chronyc" else None
    )
    monkeypatch.setattr(clock_collector, "SECONDS", 0.1)
    assert clock_collector.clocks() == NotSeen(reason="chronyc did not answer in time")
    slow.write_text(f"#!/bin/sh\necho '{TRACKING}'\n")
    monkeypatch.setattr(clock_collector, "SECONDS", 10.0)
    measured = clock_collector.clocks()
    assert not isinstance(measured, NotSeen)
    assert [each.offset for each in measured] == [-75.204]


@pytest.mark.parametrize("nft", [None, "opaque"])
def test_rules_of_which_a_part_was_not_read_in_time_are_not_taken_for_all(
    monkeypatch: pytest.MonkeyPatch, nft: str | None
) -> None:
    late = NotSeen(reason="the packet filter was not read in time")
    printed = {"nft": nft, "iptables-save": late, "ip6tables-save": ""}
    monkeypatch.setattr(filter_collector, "_listed", lambda name, *_: printed[name])
    monkeypatch.setattr(filter_collector, "parse_nft", lambda _: ((), True))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert filter_collector.packet_filter(0.0) == late
