"""When a run of `--once` has to be over: counted from the start of its process, as cron counts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops import watchdog
from ops.settings import Settings, WatchdogSettings
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.cycle import CycleOutcome, Watchdog
from ops.supervision.escalation import Step
from ops.supervision.health.assessment import Assessment
from ops.supervision.state import ServiceState

OUTCOME = CycleOutcome(
    Assessment(ServiceState.HEALTHY), Step(None), paused=False, acted=False, again_after=None
)


def seconds_for_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float) -> float:
    """How long the first cycle of a run may wait for a start, where the process is ``age`` seconds old."""
    settings = Settings(watchdog=WatchdogSettings(state_file=str(tmp_path / "watchdog.json")))
    runner = Watchdog(settings, None, "en", WatchdogJournal(sys.stderr), resident=False)
    monkeypatch.setattr(watchdog, "age_of_this_process", lambda: age)
    monkeypatch.setattr(runner, "run_cycle", lambda **_: OUTCOME)
    began = time.monotonic()
    watchdog.run_once(runner)
    assert runner.actor.deadline is not None
    return runner.actor.deadline - began


def test_what_the_start_of_the_program_took_is_not_waited_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seconds_for_a_start(tmp_path, monkeypatch, 0.0) == pytest.approx(40.0, abs=2)
    assert seconds_for_a_start(tmp_path, monkeypatch, 8.0) == pytest.approx(32.0, abs=2)


def test_a_shell_that_slept_before_it_became_the_program_leaves_time_for_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seconds_for_a_start(tmp_path, monkeypatch, 55.0) == pytest.approx(25.0, abs=2)


def test_the_age_of_a_process_has_its_imports_in_it() -> None:
    code = "import time; time.sleep(1); from ops.watchdog import age_of_this_process as age; print(age())"
    began = time.monotonic()
    printed = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout
    assert 1.0 <= float(printed) <= time.monotonic() - began + 0.02
