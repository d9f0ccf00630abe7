"""The textfile: what Prometheus reads, whole at any moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ops.supervision import metrics
from ops.supervision.state import ActionKind, ServiceState, WatchdogState
from tests.unit.supervision.made_observation import made_state


def samples(known: WatchdogState, *, paused: bool = False) -> dict[str, float]:
    """Every sample by name and labels."""
    text = metrics.exposition(known, paused=paused)
    return {
        sample.name + "".join(f"/{v}" for v in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_told() -> None:
    values = samples(
        made_state(
            service_state=ServiceState.FAILING,
            failures=2,
            counters={ActionKind.RESTART: 3},
            last_recovery_seconds=4.5,
            circuit_open=True,
        ),
        paused=True,
    )
    assert values["gte_ops_watchdog_up"] == 0
    assert values["gte_ops_watchdog_consecutive_failures"] == 2
    assert values["gte_ops_watchdog_actions_total/restart"] == 3
    assert values["gte_ops_watchdog_actions_total/kill_worker"] == 0
    assert values["gte_ops_watchdog_last_recovery_seconds"] == 4.5
    assert values["gte_ops_watchdog_holding"] == values["gte_ops_watchdog_paused"] == 1


def test_saturated_is_up_and_what_is_not_known_is_left_out() -> None:
    values = samples(made_state(service_state=ServiceState.SATURATED, saturated=True))
    assert (values["gte_ops_watchdog_up"], values["gte_ops_watchdog_saturated"]) == (1, 1)
    assert "gte_ops_watchdog_last_recovery_seconds" not in values


def test_it_is_readable_by_node_exporter(tmp_path: Path) -> None:
    metrics.write(tmp_path / "w.prom", made_state(), paused=False)
    assert (tmp_path / "w.prom").stat().st_mode & 0o044 == 0o044


def test_the_file_is_everybody_s_to_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        metrics.write(tmp_path / "watchdog.prom", made_state(), paused=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "watchdog.prom").stat().st_mode) == 0o644
