"""What is counted, for Prometheus.

With several worker processes each writes its own files in ``PROMETHEUS_MULTIPROC_DIR`` (``gunicorn_conf.py``
sets and wipes it before any of this is imported), and ``/metrics`` adds them up.
"""

import os
import time
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.progress import Record
from service.readiness import Load

MEDIA_TYPE = CONTENT_TYPE_LATEST

# From a refused request to a long text on a slow host, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter(
    "gte_requests_total",
    "Requests answered, by route, task and outcome (ok or the code of the error)",
    ["route", "task", "outcome"],
)
LATENCY = Histogram(
    "gte_request_seconds",
    "Time from the request's arrival to its answer",
    ["route", "task"],
    buckets=_BUCKETS,
)


class _Workers(Collector):
    """What the progress records say, as gauges: the same facts as behind ``/ready``."""

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
        for phase in ("booting", "ready", "draining"):
            workers.add_metric([phase], sum(record.phase == phase for record in self._records))
        yield workers
        now = time.time()
        oldest = max(
            (now - request.since for record in self._records for request in record.in_flight), default=0.0
        )
        yield GaugeMetricFamily("gte_oldest_request_seconds", "Age of the oldest request in flight", oldest)


def render(records: Sequence[Record], load: Load) -> bytes:
    """The metrics of all worker processes, in Prometheus's text format."""
    workers = CollectorRegistry()
    workers.register(_Workers(records, load))
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY) + generate_latest(workers)
    multiprocess.MultiProcessCollector(workers)  # type: ignore[no-untyped-call]
    return generate_latest(workers)
