"""The counters' files: as many after five hundred workers as after one, and no count lost or doubled."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from service.monitoring import metrics_files

COUNT = """
from service.monitoring import metrics
metrics.REQUESTS.labels("/predict", "ner", "ok").inc()
metrics.LATENCY.labels("/predict", "ner").observe(0.02)
metrics.QUEUE_DEPTH.labels("gate").set(3)
"""


def process_that_counts(directory: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    subprocess.run([sys.executable, "-c", COUNT], env=environment, check=True)


def scraped(directory: Path) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for metric in MultiProcessCollector(None, path=str(directory)).collect()
        for sample in metric.samples
    }


_PREDICT = [("route", "/predict"), ("task", "ner")]
COUNTED = f"gte_requests_total{[('outcome', 'ok'), *_PREDICT]}"
OBSERVED = f"gte_request_seconds_count{_PREDICT}"
BELOW = f"gte_request_seconds_bucket{[('le', '0.025'), *_PREDICT]}"


def test_what_dead_processes_counted_is_kept_in_one_pair_of_files(tmp_path: Path) -> None:
    for dead in range(1, 4):
        process_that_counts(tmp_path)
        before = scraped(tmp_path)
        assert metrics_files.fold(tmp_path)
        assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]
        after = scraped(tmp_path)
        for name in (COUNTED, OBSERVED, BELOW):
            assert before[name] == after[name] == dead
        assert not [name for name in after if name.startswith("gte_queue_depth")]


def test_the_files_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    process_that_counts(tmp_path)
    (file,) = tmp_path.glob("counter_*.db")
    own = file.rename(tmp_path / f"counter_{os.getpid()}.db")
    assert metrics_files.fold(tmp_path)
    assert own.exists()
    assert scraped(tmp_path)[COUNTED] == 1


def test_a_scrape_that_hangs_does_not_hold_the_master_up(tmp_path: Path) -> None:
    process_that_counts(tmp_path)
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_SH)
    assert not metrics_files.fold(tmp_path)
    assert list(tmp_path.glob("counter_[1-9]*.db"))
    os.close(held)
    assert metrics_files.fold(tmp_path)
    assert not list(tmp_path.glob("counter_[1-9]*.db"))


def test_a_broken_file_of_counts_is_lost_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process_that_counts(tmp_path)
    process_that_counts(tmp_path)
    broken = min(tmp_path.glob("counter_*.db"))
    content = broken.read_bytes()
    broken.write_bytes(b"\xff\xff\x00\x00" + content[4:100])
    assert metrics_files.fold(tmp_path)
    assert broken.name in caplog.text
    assert not broken.exists()
    assert scraped(tmp_path)[COUNTED] == 1
