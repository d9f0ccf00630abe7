"""``/metrics`` of a real gunicorn whose workers come and go."""

import os
import re
import signal
from importlib import metadata
from pathlib import Path

import pytest

from tests.system.conftest import Gunicorn, eventually, gunicorn

REFUSED = 'gte_requests_total{outcome="unknown_task",route="/predict",task=""}'
OBSERVED = 'gte_request_seconds_count{route="/predict",task=""}'


def scrape(service: Gunicorn) -> dict[str, float]:
    text = service.get("/metrics", timeout=30).body.decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("recycles", [12, pytest.param(500, marks=pytest.mark.long)])
def test_counters_are_exact_and_files_few_however_many_workers_have_been(
    recycles: int, tmp_path: Path
) -> None:
    """Workers are renewed after four requests, and every fifth is killed; no count is lost, none falls."""
    directory = tmp_path / "metrics"
    settings = {"GTE_MAX_REQUESTS": "4", "GTE_MAX_REQUESTS_JITTER": "0", "GTE_METRICS_DIR": str(directory)}
    workers: set[str] = set()
    sent = 0
    with gunicorn(tmp_path, "bare_service:create()", wait_for="/health", **settings) as service:
        seen = scrape(service)
        while len(workers) < recycles:
            for _ in range(2):
                assert (
                    service.post("/predict", {"task_type": "no", "input_text": "a"}, timeout=30).status == 400
                )
                sent += 1
            now = scrape(service)
            assert now[REFUSED] == now[OBSERVED] == sent
            counters = {name for name in seen if re.search(r"_(total|count|sum|bucket)\b", name)}
            assert [name for name in counters if now.get(name, 0.0) < seen[name]] == []
            seen = now
            records = service.records()
            if len(workers) % 5 == 4 and records:
                os.kill(records[0]["pid"], signal.SIGKILL)
                eventually(lambda: service.status_of("/health") == 200, 30)
            workers |= {record["pid"] for record in records}
        # Those of the dead (a counter and a histogram) and of at most two living workers (these and three gauges).
        files = sorted(path.name for path in directory.glob("*.db"))
        assert len(files) <= 2 + 2 * 5, files


def test_memory_queues_and_engines_are_there(service: Gunicorn) -> None:
    service.predict("ner", "北京")
    service.predict("embedding", ["北京", "上海"])
    told = scrape(service)
    assert told['gte_memory_bytes{process="worker"}'] > 10e6
    assert told['gte_memory_bytes{process="master"}'] > 1e6
    assert told['gte_queue_depth{queue="gate"}'] == 0
    assert told['gte_queue_wait_seconds_count{queue="gate"}'] >= 1
    assert told['gte_tokens_total{engine="encoder"}'] >= 4
    assert told['gte_batch_size_sum{engine="encoder"}'] == 2
    assert told['gte_batch_seconds_count{engine="lexical"}'] == 1
    builds = [name for name in told if name.startswith("gte_build_info{")]
    assert len(builds) == 1
    assert f'gunicorn="{metadata.version("gunicorn")}"' in builds[0]
    for engine in ("lexical", "encoder"):
        assert 0 < told[f'gte_engine_load_seconds{{engine="{engine}"}}'] < 60
