"""What the loss of the extractor's processes costs, and how soon it is back. The processes are the true ones, the model
is not: it does what the text says, and needs no torch."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.engines.interface import EngineUnavailableError
from service.engines.uninlu import extractor
from service.engines.uninlu.extractor import UniNlu
from tests.system.conftest import ROOT, eventually
from tests.system.pretended_uninlu import LAUNCH

PATIENCE = 60.0


@contextlib.contextmanager
def started(seconds: float = PATIENCE) -> Iterator[UniNlu]:
    engine = UniNlu(LAUNCH, seconds=seconds, wait=PATIENCE)
    yield engine
    # Its thread is one of this process for good; its processes are idle.


@pytest.fixture(scope="module")
def uninlu() -> Iterator[UniNlu]:
    with started() as engine:
        yield engine


@pytest.fixture
def requests() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def answered_by(engine: UniNlu, text: str = "") -> int:
    ((span,),) = engine.paths(text, {})
    return int(span.text)


def is_held(engine: UniNlu) -> bool:
    return engine.queue.computing > 0


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_engine_costs_the_request_it_held_and_no_other(
    sent: signal.Signals, uninlu: UniNlu, requests: ThreadPoolExecutor
) -> None:
    """Those that wait are answered by the next, all within the five seconds of the promise."""
    pid = answered_by(uninlu)
    held = requests.submit(answered_by, uninlu, "sleep")
    eventually(lambda: is_held(uninlu), PATIENCE)
    waiting = [requests.submit(answered_by, uninlu) for _ in range(3)]
    eventually(lambda: uninlu.queue.waiting == 3, PATIENCE)
    began = time.monotonic()
    os.kill(pid, sent)
    failure = held.exception(PATIENCE)
    assert isinstance(failure, EngineUnavailableError)
    assert failure.reason == "loading"
    (successor,) = {one.result(PATIENCE) for one in waiting}
    assert time.monotonic() - began < 5
    assert successor != pid
    eventually(lambda: not psutil.pid_exists(pid), PATIENCE)
    assert uninlu.failure() is None


def test_an_engine_that_sleeps_over_a_request_is_found_and_replaced(uninlu: UniNlu) -> None:
    pid = answered_by(uninlu)
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError):
        answered_by(uninlu, "sleep")
    assert answered_by(uninlu) != pid
    assert time.monotonic() - began < 5


def test_an_engine_that_computes_for_ever_keeps_no_client_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "_GRACE", 0.5)
    with started(seconds=0.5) as uninlu:
        pid = answered_by(uninlu)
        began = time.monotonic()
        with pytest.raises(EngineTimeoutError):
            answered_by(uninlu, "spin")
        assert time.monotonic() - began < 0.9, "the client waited for the grace"
        assert answered_by(uninlu) != pid
        eventually(lambda: not psutil.pid_exists(pid), PATIENCE)


def test_the_predictions_deadline_holds_though_the_extractors_is_longer(
    uninlu: UniNlu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "_GRACE", 0.5)
    began = time.monotonic()
    with deadline.within(0.3), pytest.raises(EngineTimeoutError):
        answered_by(uninlu, "spin")
    assert time.monotonic() - began < 1
    answered_by(uninlu)


def test_an_idle_engine_that_is_lost_costs_no_request(uninlu: UniNlu) -> None:
    for sent in (signal.SIGKILL, signal.SIGSTOP):
        pid = answered_by(uninlu)
        os.kill(pid, sent)
        eventually(lambda pid=pid: uninlu.pids[1] != pid and uninlu.failure() is None, 5)  # type: ignore[misc]
        assert answered_by(uninlu) != pid


def test_a_request_that_fails_ends_nothing(uninlu: UniNlu) -> None:
    pid = answered_by(uninlu)
    with pytest.raises(RuntimeError, match="ValueError"):
        answered_by(uninlu, "wrong")
    assert answered_by(uninlu) == pid


def test_how_an_engine_ended_is_counted(uninlu: UniNlu, caplog: pytest.LogCaptureFixture) -> None:
    answered_by(uninlu)
    with pytest.raises(EngineUnavailableError):
        answered_by(uninlu, "exit")
    # The client is told before the log is.
    eventually(lambda: "ended with status 3" in caplog.text, PATIENCE)
    os.kill(answered_by(uninlu), signal.SIGKILL)
    eventually(lambda: "was killed by SIGKILL" in caplog.text, PATIENCE)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_forkserver_costs_no_request_and_is_replaced(sent: signal.Signals, uninlu: UniNlu) -> None:
    forkserver, engine = uninlu.pids
    assert forkserver is not None
    os.kill(forkserver, sent)
    while uninlu.pids[0] in (forkserver, None):
        answered_by(uninlu, "slow")
    eventually(lambda: uninlu.pids[1] != engine, PATIENCE)
    eventually(lambda: not psutil.pid_exists(engine) and not psutil.pid_exists(forkserver), PATIENCE)
    parent = psutil.Process(answered_by(uninlu)).ppid()
    assert parent == uninlu.pids[0]


def test_where_both_are_lost_they_come_back_together(uninlu: UniNlu) -> None:
    forkserver, engine = uninlu.pids
    assert forkserver is not None
    for pid in (forkserver, engine):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: uninlu.pids[0] not in (forkserver, None) and uninlu.failure() is None, PATIENCE)
    assert answered_by(uninlu) != engine


WORKER = """
import sys, threading
from tests.system.test_uninlu_engine import LAUNCH, UniNlu
uninlu = UniNlu(LAUNCH, seconds=60, wait=60)
print(*uninlu.pids, flush=True)
try: uninlu.paths(sys.argv[1], {})
finally: sys.stdin.read()
"""


@pytest.mark.parametrize("at", ["", "spin"])
def test_the_processes_end_with_their_worker(at: str) -> None:
    """However it ends, and whatever they are at."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, at], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        pids = [int(word) for word in worker.stdout.readline().split()]
        assert len(pids) == 2
        if at:
            eventually(lambda: psutil.Process(pids[1]).cpu_times().user > 0.1, PATIENCE)
        worker.kill()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5)


def test_an_engine_is_forked_from_one_thread_and_computes_with_those_it_was_given(uninlu: UniNlu) -> None:
    """A thread that is not copied could have held a lock."""
    forkserver, engine = uninlu.pids
    assert forkserver is not None
    assert psutil.Process(forkserver).num_threads() == 1
    assert psutil.Process(engine).num_threads() == 2, (
        "the computing one, and the one that ends it with its worker"
    )


def test_many_at_once_are_answered_one_after_the_other(uninlu: UniNlu) -> None:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(answered_by(uninlu))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [answered_by(uninlu)] * 20
