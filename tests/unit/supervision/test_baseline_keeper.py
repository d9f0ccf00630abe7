"""When the watchdog confirms the baseline and when it has the host recorded anew."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from ops.baselines.capture import capture, directory_times
from ops.baselines.directory import baseline_directory
from ops.baselines.state import Baseline
from ops.baselines.store import BaselineStore
from ops.facts.changes import PlaceKind
from ops.settings import Settings
from ops.supervision.baseline_keeper import (
    AFTER_A_CHANGE,
    ASSUMED_COST,
    SETTLED,
    SHARE,
    WITHOUT_A_CHANGE,
    BaselineKeeper,
    accept_command,
)
from ops.supervision.observation import Clocks
from ops.supervision.state import ServiceState, WatchdogState

HEALTHY = WatchdogState(service_state=ServiceState.HEALTHY, state_since=1000.0)


class Host:
    """A file of nginx's, a store with its state, and a command that writes a line to a file.

    Each cycle has a new keeper, as the runs of `--once` from cron have."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "nginx.conf"
        self.file.write_text("listen 80;\n")
        settings = msgspec.structs.replace(
            Settings(),
            watchdog=msgspec.structs.replace(
                Settings().watchdog, state_file=str(directory / "watchdog.json")
            ),
        )
        self.store = BaselineStore(baseline_directory(settings))
        self.asked = directory / "asked"
        self.settings = settings
        self.command = ("sh", "-c", f"echo asked >> {self.asked}")

    def record(self) -> None:
        captured_files = capture({str(self.file): PlaceKind.NGINX}, {}, 0.0)
        baseline = Baseline(
            made_by="test",
            taken_at=time.time(),
            looked_at=time.time(),
            by="accept",
            files=captured_files.files,
            values={},
            directories=directory_times([str(self.file.parent / "conf.d")]),
        )
        self.store.record(baseline, captured_files.texts)

    def cycle(self, at: float, state: WatchdogState = HEALTHY, *, paused: bool = False) -> int:
        """One cycle ``at`` seconds on the boot clock: how often the doctor has been asked until now."""
        keeper = BaselineKeeper(self.settings, self.command, resident=False)
        keeper.after_cycle(state, Clocks(wall=at, monotonic=at, boottime=at), paused=paused)
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


SETTLED_AT = 1000.0 + SETTLED


def test_the_host_is_recorded_once_the_service_has_been_healthy_for_a_while(host: Host) -> None:
    assert host.cycle(SETTLED_AT - 1) == 0
    assert host.cycle(SETTLED_AT) == 1


@pytest.mark.parametrize("service_state", [state for state in ServiceState if state != ServiceState.HEALTHY])
def test_a_service_that_is_not_healthy_is_not_remembered(host: Host, service_state: ServiceState) -> None:
    host.record()
    path = host.store.names()[-1][2]
    os.utime(path, (5.0, 5.0))
    host.file.write_text("listen 81;\n")
    state = msgspec.structs.replace(HEALTHY, service_state=service_state)
    assert host.cycle(SETTLED_AT + 5, state) == 0
    assert path.stat().st_mtime == 5.0


def test_nothing_is_recorded_while_the_watchdog_is_paused(host: Host) -> None:
    assert host.cycle(SETTLED_AT, paused=True) == 0


def test_while_nothing_changes_the_baseline_is_confirmed_and_the_doctor_is_not_asked(host: Host) -> None:
    host.record()
    path = host.store.names()[-1][2]
    os.utime(path, (5.0, 5.0))
    assert host.cycle(SETTLED_AT) == 0
    assert path.stat().st_mtime > 1e9


def test_a_changed_file_is_not_confirmed_and_the_doctor_is_asked_once(host: Host) -> None:
    host.record()
    path = host.store.names()[-1][2]
    os.utime(path, (5.0, 5.0))
    host.file.write_text("listen 8081;\n")
    assert host.cycle(SETTLED_AT) == 1
    assert path.stat().st_mtime == 5.0
    # It recorded nothing: the same files are looked at again after an hour, other ones after some minutes.
    assert host.cycle(SETTLED_AT + AFTER_A_CHANGE + 1) == 1
    assert _note(host)["cost"] < ASSUMED_COST / 2
    assert host.cycle(SETTLED_AT + WITHOUT_A_CHANGE + 1) == 2
    host.file.write_text("listen 8082;\n# and more\n")
    assert host.cycle(SETTLED_AT + WITHOUT_A_CHANGE + AFTER_A_CHANGE + 2) == 3


def _note(host: Host) -> dict[str, float]:
    note: dict[str, float] = json.loads((host.store.directory / "asked.json").read_text())
    return note


def test_while_changes_keep_coming_recordings_take_no_more_than_their_share_of_a_core(host: Host) -> None:
    """What a recording took is measured, with the processes that it started itself."""
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    host.command = ("sh", "-c", f"{sys.executable} -S -c '{burn}'; echo asked >> {host.asked}")
    assert host.cycle(SETTLED_AT) == 1
    cost = _note(host)["cost"]
    assert cost >= 0.5
    times = [SETTLED_AT]
    for minute in range(1, 61):
        host.file.write_text(f"listen {8000 + minute};\n")
        if host.cycle(SETTLED_AT + 60.0 * minute) > len(times):
            times.append(SETTLED_AT + 60.0 * minute)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps
    assert min(gaps) >= max(AFTER_A_CHANGE, 0.5 / SHARE), gaps


def test_a_recording_that_was_never_seen_to_end_counts_as_one_of_the_usual_cost(host: Host) -> None:
    host.store.directory.mkdir(parents=True)
    (host.store.directory / "asked.json").write_text(f'{{"digest": "", "at": {SETTLED_AT}}}')
    assert host.cycle(SETTLED_AT + ASSUMED_COST / SHARE - 1) == 0
    assert host.cycle(SETTLED_AT + ASSUMED_COST / SHARE + 1) == 1


def test_a_clock_that_was_set_back_does_not_silence_it(host: Host) -> None:
    assert host.cycle(SETTLED_AT + 86400) == 1
    assert host.cycle(SETTLED_AT) == 2


def test_a_file_that_is_gone_and_a_new_directory_are_changes(host: Host) -> None:
    host.record()
    host.file.unlink()
    assert host.cycle(SETTLED_AT) == 1


def test_a_store_that_is_torn_and_a_command_that_is_not_there_cost_no_cycle(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.record()
    host.store.names()[-1][2].write_bytes(b"{")
    assert host.cycle(SETTLED_AT) == 1
    keeper = BaselineKeeper(Settings(), ("/nowhere/gte-ops",), resident=False)
    keeper.after_cycle(HEALTHY, Clocks(wall=0.0, monotonic=0.0, boottime=SETTLED_AT), paused=False)


def test_the_command_is_one_that_gte_ops_has() -> None:
    from ops.cli.main import commands

    words = accept_command(Path("/etc/gte-ops/gte-ops.toml"))
    group = commands.get_command(None, "baseline")  # type: ignore[arg-type]
    accept = group.commands["accept"]
    assert words[3:6] == ("ops.cli", "baseline", "accept")
    parsed = accept.make_context("accept", list(words[6:]))
    assert (parsed.params["by"], parsed.params["config"]) == ("watchdog", "/etc/gte-ops/gte-ops.toml")
