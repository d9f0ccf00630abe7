"""The files of deploy/prometheus with the real programs: alerts fire for a fault, name the host, reach people, end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.system import metrics_files
from tests.system.conftest import eventually
from tests.system.metrics_files import write_files
from tests.system.monitoring_host import (
    CLIENTS,
    FILES,
    HOST,
    Monitoring,
    age_file,
    monitoring,
    posted,
)
from tests.system.test_notify_serve import ROBOTS
from tests.unit.deployment.test_grafana_dashboard import annotation_queries, queries

# A fault is scraped, evaluated twice, grouped, sent; on a busy machine.
PATIENCE = 90.0
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((FILES / "gte-ops.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    directory = tmp_path_factory.mktemp("monitoring")
    (directory / "textfiles").mkdir()
    write_files(directory / "textfiles", well=True)
    with monitoring(directory) as made:
        yield made


def messages(watched: Monitoring, words: str) -> dict[str, list[str]]:
    """The messages with ``words`` in them, by robot."""
    return {robot: [text for text in watched.robots.texts(robot) if words in text] for robot in ROBOTS}


def test_one_outage_is_one_page_at_each_robot_and_its_end(watched: Monitoring) -> None:
    """gunicorn and nginx are gone: of three alerts only the widest is sent."""
    eventually(lambda: not watched.firing(), PATIENCE)
    watched.freeze_service()
    watched.end("nginx")
    try:
        eventually(lambda: {"GteSiteDown", "GteServiceNotScraped"} <= set(watched.firing()), PATIENCE)
        eventually(lambda: all(messages(watched, "GteSiteDown").values()), PATIENCE)
    finally:
        watched.thaw_service()
        watched.start_nginx()
    eventually(lambda: not watched.firing(), PATIENCE)
    eventually(lambda: all(len(texts) == 2 for texts in messages(watched, "GteSiteDown").values()), PATIENCE)
    for begin, end in messages(watched, "GteSiteDown").values():
        assert begin.startswith(f"[gte-ops] {HOST}：以用户的方式访问")
        assert end.startswith("[gte-ops] 已恢复")
    assert not any(messages(watched, "GteServiceNotScraped").values())


@pytest.mark.long
def test_every_alert_fires_for_its_fault_names_the_host_and_ends(watched: Monitoring) -> None:
    fired: dict[str, dict[str, Any]] = {}

    def have_fired(*names: str) -> Callable[[], bool]:
        missing = set(names)

        def probe() -> bool:
            fired.update({name: alert for name, alert in watched.firing().items() if name not in fired})
            missing.difference_update(fired)
            return not missing

        # Which ones are missing stands in the failure.
        return _Named(probe, missing)

    def all_over() -> None:
        eventually(lambda: not watched.firing(), PATIENCE)

    eventually(lambda: not watched.firing(), PATIENCE)
    _break_files(watched, have_fired)
    all_over()
    _break_service(watched, have_fired)
    all_over()
    _silence(watched, have_fired)
    all_over()
    assert set(fired) == ALERTS
    for name, alert in fired.items():
        annotations = alert["annotations"]
        where = alert["labels"]["job"] if name == "GteNotConfigured" else HOST
        assert where in annotations["summary"], name
        assert where in annotations["summary_zh"], name
        assert annotations["runbook_url"].startswith("https://docs.example.com/gte-ops/")
    assert fired["GteCause"]["annotations"]["runbook_url"].endswith("causes/gunicorn.md#gun003")


Fired = Callable[..., Callable[[], bool]]


@dataclass
class _Named:
    """A condition whose name says what it waits for."""

    probe: Callable[[], bool]
    missing: set[str]

    def __call__(self) -> bool:
        return self.probe()

    def __repr__(self) -> str:
        return f"{', '.join(sorted(self.missing))}"


def _break_files(watched: Monitoring, have_fired: Fired) -> None:
    """The files of a host where everything is wrong, and a disk that fills."""
    write_files(watched.textfiles, well=False)
    watched.fill_disk(1_000_000)
    watched.clock.seconds = 600.0
    eventually(
        have_fired(
            "GteDown", "GteWatchdogHolds", "GteWatchdogSeesSaturation", "GteWatchdogPausedLong",
            "GteCertificateExpiresSoon", "GteCertificateAboutToExpire", "GteCertificateNotReloaded",
            "GteCertificateUnreadable", "GteBackupOld", "GteBackupDamaged", "GteBackupFailed", "GteCause",
            "GteDiskLow", "GteUpstreamDead", "GteUpstreamSlow", "GteUpstreamDiffers", "GteClockWrong",
        ),
        PATIENCE,
    )  # fmt: skip
    watched.fill_disk(1_048_576 - 8192)
    eventually(have_fired("GteDiskFull"), PATIENCE)
    write_files(watched.textfiles, well=True)
    watched.fill_disk(0)
    watched.clock.seconds = 0.0


def _break_service(watched: Monitoring, have_fired: Fired) -> None:
    """Requests that fail, an engine that keeps ending, more requests than it can hold, a model that does not load."""
    with _asking(watched, [("sentiment", "a"), ("event", "exit")]):
        eventually(have_fired("GteErrors", "GteEngineRestarts"), PATIENCE)
    turn = watched.directory / "turn"
    try:
        with _asking(watched, [("similarity", str(turn))]):
            eventually(have_fired("GteSaturated", "GteRequestStuck"), PATIENCE)
            turn.touch()
    finally:
        turn.touch()
    # Half a second each, one after the other.
    with _asking(watched, [("event", "slow")]):
        eventually(have_fired("GteQueueWaits"), PATIENCE)
    watched.hold.touch()
    workers = [record["pid"] for record in watched.service.records()]
    watched.service.process.send_signal(signal.SIGHUP)  # SIGHUP: new workers, which wait for their engine
    eventually(lambda: not {record["pid"] for record in watched.service.records()} & set(workers), PATIENCE)
    eventually(have_fired("GteNoWorkerReady"), PATIENCE)
    watched.hold.unlink()


@contextmanager
def _asking(watched: Monitoring, requests: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Each client sends ``requests`` again and again, until the end of the block."""
    over = threading.Event()

    def run(client: str) -> None:
        while not over.is_set():
            for task, text in requests:
                if posted(watched.service, task, text, client) == 503:
                    over.wait(0.1)

    running = [threading.Thread(target=run, args=(client,), daemon=True) for client in CLIENTS]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running:
            thread.join(PATIENCE)


def _silence(watched: Monitoring, have_fired: Fired) -> None:
    """Files that grow old, files that are not there, a service and a host that do not answer, a forgotten target."""
    for name in (metrics_files.WATCHDOG, metrics_files.CERTIFICATES, metrics_files.DOCTOR):
        age_file(watched.textfiles / name, 2 * metrics_files.DAY)
    eventually(have_fired("GteWatchdogSilent", "GteCertificateCheckSilent", "GteDoctorSilent"), PATIENCE)
    for path in watched.textfiles.iterdir():
        path.unlink()
    eventually(have_fired("GteWatchdogAbsent", "GteCertificateCheckAbsent", "GteBackupAbsent"), PATIENCE)
    write_files(watched.textfiles, well=True)
    watched.end("nginx")
    watched.freeze_service()
    eventually(have_fired("GteSiteDown", "GteServiceNotScraped"), PATIENCE)
    watched.thaw_service()
    watched.start_nginx()
    watched.end("node")
    eventually(have_fired("GteHostDown"), PATIENCE)
    watched.start_node_exporter()
    watched.configure_prometheus(with_targets=False)
    watched.reload_prometheus()
    eventually(have_fired("GteNotConfigured"), PATIENCE)
    watched.configure_prometheus()
    watched.reload_prometheus()


def test_every_query_of_the_dashboard_returns_data_under_load(watched: Monitoring) -> None:
    eventually(lambda: not watched.firing(), PATIENCE)
    for number in range(20):
        assert posted(watched.service, "event", f"第{number}条") == 200
    posted(watched.service, "sentiment", "a")
    empty = set(queries())

    def all_answer() -> bool:
        posted(watched.service, "event", "还有一条")
        for query in sorted(empty):
            expression = query.replace("$instance", ".*").replace("$__rate_interval", "20s")
            if watched.api("query", query=expression)["result"] or _may_be_empty(query):
                empty.discard(query)
        return not empty

    eventually(_Named(all_answer, empty), PATIENCE)


def _may_be_empty(query: str) -> bool:
    """An annotation has something to show only where something changed; the query itself must be understood."""
    return query in annotation_queries()
