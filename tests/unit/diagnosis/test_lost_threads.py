"""When workers that exceed the timeout are said to wait for threads that stayed in gunicorn's master (GUN004)."""

from __future__ import annotations

import pytest

from ops.diagnosis.finding import Finding
from ops.facts.service_process import ServiceProcess
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers
from tests.unit.diagnosis.checks.cases import found
from tests.unit.diagnosis.checks.test_fifth_collection import users
from tests.unit.made_snapshot import (
    answered,
    but,
    entry,
    gunicorn_config,
    gunicorn_log,
    nginx_logs,
)

TIMEOUT = entry("WORKER TIMEOUT (pid:901)", ago=61, level="critical")
KILLED = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=60, level="error")
CLOSED = entry(
    "*9 upstream prematurely closed connection while reading response header from upstream, client: 10.0.0.7,"
    ' server: _, request: "POST /embed HTTP/1.1", upstream: "http://127.0.0.1:8000/embed", host: "x"',
    ago=60,
    level="error",
)
LOST = answered("502", 3, path="/embed")
ANSWERED = answered("200", 3, path="/embed")
PYTHON = "/usr/lib/python3.12"
QUEUE = (f"{PYTHON}/queue.py:171:get", f"{PYTHON}/threading.py:355:wait")


def ended(line: str, *frames: str) -> str:
    """The traceback of a worker that gunicorn ended at the application's ``line``, below it ``FILE:LINE:FUNCTION``."""
    inner = "".join('  File "{}", line {}, in {}\n    call()\n'.format(*frame.split(":")) for frame in frames)
    return (
        "Error handling request /embed\nTraceback (most recent call last):\n"
        f'  File "/root/build/app.py", line 22, in embed\n    {line}\n{inner}'
        f'  File "{PYTHON}/site-packages/gunicorn/workers/base.py", line 204, in handle_abort\n'
        "    sys.exit(1)\nSystemExit: 1"
    )


def forked(*texts: str, killed: bool = False, answers: tuple[Answers, ...] = (LOST,)) -> Snapshot:
    """The master has loaded the application, and has twelve threads."""
    base = but(users(*answers, at_service=()), gunicorn__config=gunicorn_config(preload_app=True))
    return but(
        base,
        logs__gunicorn_error=gunicorn_log(
            TIMEOUT, *(entry(text, ago=61) for text in texts), *((KILLED,) if killed else ())
        ),
        logs__nginx_errors=nginx_logs(CLOSED) if killed else {},
        logs__service_process=ServiceProcess(pid=901, master_threads=12),
    )


def judged(snapshot: Snapshot) -> Finding:
    return found(snapshot)["GUN004"]


@pytest.mark.parametrize(
    "text",
    [
        ended("answer = jobs.get()", *QUEUE),
        ended(
            "return job.result()",
            f"{PYTHON}/concurrent/futures/_base.py:451:result",
            f"{PYTHON}/threading.py:355:wait",
        ),
        ended("with model_lock:"),
        ended("LOCK.acquire()"),
    ],
)
def test_a_wait_for_a_thread_is_proven_by_where_it_ended(text: str) -> None:
    finding = judged(forked(text))
    assert finding.summary is not None
    assert "waited for another thread" in finding.summary.en
    assert "preload_app" in str(finding.fix)


@pytest.mark.parametrize(
    "text",
    [
        ended("r = requests.get(URL)", f"{PYTHON}/site-packages/requests/api.py:73:get"),
        ended("r = requests.get(URL)", f"{PYTHON}/ssl.py:1166:read"),
        ended("key = os.path.join(a, b)"),
        ended("row = cache.get(k)", f"{PYTHON}/site-packages/redis/client.py:9:get"),
        ended('return ", ".join(parts)'),
        ended("with client.lock(k):", f"{PYTHON}/site-packages/redis/lock.py:9:acquire"),
        # A thread that this request has started.
        ended("thread.join()", f"{PYTHON}/threading.py:1149:join", f"{PYTHON}/threading.py:1169:wait"),
        ended(
            "with ThreadPoolExecutor() as pool:",
            f"{PYTHON}/concurrent/futures/thread.py:239:shutdown",
            f"{PYTHON}/threading.py:1149:join",
        ),
        ended("answers.get()", f"{PYTHON}/multiprocessing/connection.py:216:recv_bytes"),
    ],
)
def test_what_waits_for_something_else_is_no_lost_thread(text: str) -> None:
    summary = judged(forked(text)).summary
    assert summary is not None
    assert "preload_app" not in summary.en


def test_a_path_that_was_answered_waits_for_no_lost_thread() -> None:
    summary = judged(forked(ended("answer = jobs.get()", *QUEUE), answers=(LOST, ANSWERED))).summary
    assert summary is not None
    assert "preload_app" not in summary.en
    assert judged(forked(killed=True, answers=(LOST, ANSWERED))).summary is None


def test_a_worker_that_did_not_heed_sigabrt_may_wait_or_compute() -> None:
    finding = judged(forked(killed=True))
    assert finding.summary is not None
    assert "may wait for threads that only the master has, or compute" in finding.summary.en
    assert "near 100 %" in str(finding.fix)


def test_a_kill_alone_proves_nothing() -> None:
    snapshot = but(forked(killed=True), logs__nginx_errors={})
    assert judged(snapshot).summary is None
