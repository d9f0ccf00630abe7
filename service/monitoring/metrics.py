"""The counters and gauges for Prometheus. ``docs/metrics.md`` lists every name.

Each process writes its own files in ``PROMETHEUS_MULTIPROC_DIR`` (``gunicorn_conf.py`` sets and wipes it
before any of this is imported); ``exposition`` adds them up, ``metrics_files`` keeps their number bounded.
An engine in a process of its own inherits the variable and can count by importing this module.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

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

# The queues: "gate" is the queue for a place (``admission``); an engine's queue has the name of its kind.
QUEUE_DEPTH = Gauge(
    "gte_queue_depth", "Predictions that wait now, by queue", ["queue"], multiprocess_mode="livesum"
)
QUEUE_WAIT = Histogram(
    "gte_queue_wait_seconds",
    "Time that an accepted prediction waited for its turn, by queue",
    ["queue"],
    buckets=_BUCKETS,
)

# The label of an engine is its kind ("encoder", "lexical", "extractor"): the name of a model may change with each
# release, a label must not.
BATCH_SIZE = Histogram(
    "gte_batch_size",
    "Texts in one call of an engine's model",
    ["engine"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
BATCH_SECONDS = Histogram(
    "gte_batch_seconds", "Time that one call of an engine's model took", ["engine"], buckets=_BUCKETS
)
# Tokens per second are its rate.
TOKENS = Counter("gte_tokens_total", "Tokens that an engine's model has read", ["engine"])
ENGINE_RESTARTS = Counter(
    "gte_engine_restarts_total",
    "Engine processes started in place of one that ended, by the reason",
    ["engine", "reason"],
)
ENGINE_LOAD = Gauge(
    "gte_engine_load_seconds",
    "Time that the engine's model took to load, the longest of all processes",
    ["engine"],
    multiprocess_mode="livemax",
)


def expect_restarts(engine: str, reasons: Iterable[str]) -> None:
    """Start ``gte_engine_restarts_total`` at 0: Prometheus sees no increase in a counter that was absent before."""
    for reason in reasons:
        ENGINE_RESTARTS.labels(engine, reason)
