"""The answer of ``/metrics`` in Prometheus's text format: the counters, and the current state as gauges."""

import os
import platform
import time
from collections.abc import Iterator, Sequence, Set
from functools import cache
from importlib import metadata
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Metric,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.monitoring import metrics_files
from service.monitoring.load import Load
from service.monitoring.process_memory import memory_by_role
from service.monitoring.progress import Phase, Record
from service.version import version

MEDIA_TYPE = CONTENT_TYPE_LATEST


class _Workers(Collector):
    """The progress records as gauges: the facts that ``/ready`` uses too."""

    def __init__(self, records: Sequence[Record], load: Load) -> None:
        self._records = records
        self._load = load

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "gte_predictions_in_flight", "Predictions running or waiting in all workers", self._load.in_flight
        )
        yield GaugeMetricFamily(
            "gte_prediction_capacity",
            "Predictions that all workers can hold, running and waiting",
            self._load.capacity,
        )
        workers = GaugeMetricFamily("gte_workers", "Worker processes, by phase", labels=["phase"])
        for phase in Phase:
            workers.add_metric([phase], sum(record.phase is phase for record in self._records))
        yield workers
        now = time.time()
        oldest = max(
            (now - request.since for record in self._records for request in record.in_flight), default=0.0
        )
        yield GaugeMetricFamily("gte_oldest_request_seconds", "Age of the oldest request in flight", oldest)


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "gte_build_info", "The version of the service", labels=["version", "python", "gunicorn"]
        )
        build.add_metric([version(), platform.python_version(), _gunicorn_version()], 1)
        yield build


@cache
def _gunicorn_version() -> str:
    try:
        return metadata.version("gunicorn")
    except metadata.PackageNotFoundError:
        return "unknown"


class _Memory(Collector):
    def __init__(self, workers: Set[int]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "gte_memory_bytes",
            "Memory of the service's processes (proportional set size: a shared page counts once in all), by role",
            labels=["process"],
        )
        for role, size in memory_by_role(self._workers).items():
            memory.add_metric([role], size)
        yield memory


def render(records: Sequence[Record], load: Load) -> bytes:
    """The metrics of all worker processes, in Prometheus's text format."""
    workers = CollectorRegistry()
    workers.register(_Workers(records, load))
    workers.register(_Build())
    workers.register(_Memory({record.pid for record in records}))
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return generate_latest(REGISTRY) + generate_latest(workers)
    multiprocess.MultiProcessCollector(workers)  # type: ignore[no-untyped-call]
    with metrics_files.reading(Path(directory)):
        return generate_latest(workers)
