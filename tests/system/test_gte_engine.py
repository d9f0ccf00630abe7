"""The engine process under its worker: what it costs when it dies, hangs or fails, and that nothing waits for ever."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest

from service.admission import client
from service.admission.errors import ClientGoneError
from service.admission.gate import OverloadedError
from service.engines.forkserver.client import Forkserver, LostError
from service.engines.gte import engine as gte_engine
from service.engines.gte.encoder import Gte
from service.engines.interface import EngineUnavailableError
from tests.made_checkpoint import SHORT, make
from tests.system.conftest import Gunicorn, eventually, gunicorn

# Beyond what a loaded machine needs, and far below what waiting for ever takes.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "gte", **SHORT)  # type: ignore[arg-type]


def engine_of(directory: Path, **changes: Any) -> Gte:
    options: dict[str, Any] = {
        "precision": "float32",
        "threads": 1,
        "window": 512,
        "wait": PATIENCE,
        "batch_tokens": 64,
        "cached": 0,
    }
    return Gte(directory, **{**options, **changes})


@pytest.fixture(scope="module")
def gte(directory: Path) -> Gte:
    return engine_of(directory)


@pytest.fixture
def requests() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


class Stopped:
    """An engine that is stopped (SIGSTOP) in the moment it has taken a request, and has others waiting behind it."""

    def __init__(self, gte: Gte, requests: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = gte.queue
        taken, go_on = threading.Event(), threading.Event()
        take = queue.take

        def take_and_hold() -> Any:
            batch = take()
            taken.set()
            assert go_on.wait(PATIENCE)
            return batch

        gte.encode(["先"])
        monkeypatch.setattr(queue, "take", take_and_hold)
        self.held: Future[Any] = requests.submit(gte.encode, ["持有"])
        assert taken.wait(PATIENCE)
        self.waiting = [requests.submit(gte.encode, [f"等待{number}"]) for number in range(5)]
        eventually(lambda: queue.waiting == 5, PATIENCE)
        monkeypatch.undo()
        self.go_on = go_on.set


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, signal.SIGSTOP, pytest.param(signal.SIGSEGV, marks=pytest.mark.long)]
)
def test_a_lost_engine_costs_the_requests_it_held_and_no_other(
    sent: signal.Signals, gte: Gte, requests: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in its hands fail, saying that another try helps; those that wait are served by the next process."""
    pid = gte.pids[1]
    assert pid is not None
    stopped = Stopped(gte, requests, monkeypatch)
    os.kill(pid, sent)
    stopped.go_on()
    with pytest.raises(EngineUnavailableError) as failure:
        stopped.held.result(PATIENCE)
    assert failure.value.reason == "loading"
    assert [len(waiting.result(PATIENCE)) for waiting in stopped.waiting] == [1] * 5
    assert gte.pids[1] != pid
    assert not psutil.pid_exists(pid)
    assert gte.failure() is None


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_an_idle_engine_that_is_lost_costs_no_request(sent: signal.Signals, gte: Gte) -> None:
    gte.encode(["先"])
    pid = gte.pids[1]
    os.kill(pid, sent)
    eventually(lambda: gte.pids[1] != pid and gte.failure() is None, PATIENCE)
    assert len(gte.encode(["后"])) == 1


# A forkserver whose engine says that it is ready and then does with a batch what DOES says.
PRETENDER = """
import json, socket, sys, time
from service.engines.forkserver import server
from service.engines.gte import protocol
facts = {"precision": "float32", "products": "float32", "device": "cpu", "dimension": 4}
facts |= {"measured": None, "compiled": True}

def answer(channel):
    protocol.send(channel, protocol.Kind.READY, 0, json.dumps({**facts, "tokens_per_second": 1000.0}).encode())
    protocol.Receiver(channel).receive()
    while True:
        DOES

control = socket.socket(fileno=int(sys.argv[1]))
server.send(control, {"ready": True})
server.serve(control, answer)
"""


@pytest.mark.parametrize(("does", "found"), [("time.sleep(60)", "slept"), ("pass", "did not answer in time")])
def test_an_engine_that_hangs_without_being_stopped_is_found_and_killed(
    does: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asleep for ever, or busy for ever."""
    monkeypatch.setattr(gte_engine, "_ASLEEP", 1.0)
    monkeypatch.setattr(gte_engine, "_GRACE", 5.0 if "answer" in found else PATIENCE)
    program = ("-c", PRETENDER.replace("DOES", does))
    forkserver = Forkserver(gte_engine.GteLaunch(Path(), "float32", 1, program).forkserver())
    engine = gte_engine.GteEngine(forkserver)
    with pytest.raises(LostError, match=found) as loss:
        engine.encode([numpy.asarray([1, 2], dtype=numpy.int32)], expected=0.0)
    assert loss.value.reason == "stuck"
    eventually(lambda: not psutil.pid_exists(engine.pid), PATIENCE)
    forkserver.end()


def test_a_batch_on_which_the_engine_fails_does_not_end_it(gte: Gte) -> None:
    pid = gte.pids[1]
    foreign = numpy.asarray([1, 10_000_000, 2], dtype=numpy.int32)
    with pytest.raises(EngineUnavailableError) as failure:
        gte.queue.submit([foreign])
    assert failure.value.reason == "loading"
    assert gte.pids[1] == pid
    assert len(gte.encode(["好"])) == 1


def test_equal_texts_are_computed_once_and_come_back_everywhere(
    gte: Gte, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    submit = gte.queue.submit

    def counted(sequences: list[Any]) -> Any:
        asked.append(len(sequences))
        return submit(sequences)

    monkeypatch.setattr(gte.queue, "submit", counted)
    vectors = gte.encode(["甲", "乙", "甲", "甲"])
    assert asked == [2]
    assert vectors[0] == vectors[2] == vectors[3] != vectors[1]


def test_results_are_kept_only_where_that_is_asked_for(directory: Path) -> None:
    keeping = engine_of(directory, cached=2)
    first = keeping.encode(["甲", "乙"])
    pid = keeping.pids[1]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert keeping.encode(["乙", "甲"]) == first[::-1], "these need no engine"
    os.kill(pid, signal.SIGCONT)
    keeping.encode(["丙"])
    assert keeping.encode(["乙", "丙", "甲"])[0] == pytest.approx(first[1], abs=1e-6)


def test_more_than_can_be_begun_in_time_is_refused_at_once(
    directory: Path, requests: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gte = engine_of(directory, wait=0.5)
    stopped = Stopped(gte, requests, monkeypatch)
    queue = gte.queue
    monkeypatch.setattr(queue, "_rate", 1.0)  # a token a second: what waits needs far longer than allowed
    started = time.monotonic()
    with pytest.raises(OverloadedError) as refusal:
        gte.encode(["晚"])
    assert time.monotonic() - started < 0.4, "it waited before it was refused"
    assert 1 <= refusal.value.retry_after <= 30
    for waiting in stopped.waiting:
        with pytest.raises(OverloadedError):
            waiting.result(PATIENCE)
    stopped.go_on()
    stopped.held.result(PATIENCE)


def test_a_client_that_went_away_loses_its_place(
    directory: Path, requests: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    gte = engine_of(directory)
    stopped = Stopped(gte, requests, monkeypatch)

    def leaving() -> Any:
        with client.asking(client.Client("leaving", gone.is_set)):
            return gte.encode(["去"])

    left = requests.submit(leaving)
    eventually(lambda: gte.queue.waiting == 6, PATIENCE)
    gone.set()
    with pytest.raises(ClientGoneError):
        left.result(PATIENCE)
    assert gte.queue.waiting == 5
    stopped.go_on()
    for waiting in stopped.waiting:
        waiting.result(PATIENCE)
    assert (gte.queue.waiting, gte.queue.waiting_work, gte.queue.computing) == (0, 0, 0)


def test_a_request_of_many_texts_does_not_hold_up_a_short_one(
    gte: Gte, requests: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    stopped = Stopped(gte, requests, monkeypatch)
    many = requests.submit(
        gte.encode, [f"第{number}个不短的句子，它有许多同伴，一个接着一个" for number in range(60)]
    )
    many.add_done_callback(lambda _: ended.append("many"))
    eventually(lambda: gte.queue.waiting == 6, PATIENCE)
    short = requests.submit(gte.encode, ["短"])
    short.add_done_callback(lambda _: ended.append("short"))
    eventually(lambda: gte.queue.waiting == 7, PATIENCE)
    stopped.go_on()
    assert (len(short.result(PATIENCE)), len(many.result(PATIENCE))) == (1, 60)
    assert ended == ["short", "many"]


# --- under gunicorn ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    variables = {"GTE_MODEL_DIR": str(directory), "GTE_MODEL_THREADS": "1", "GTE_PRECISION": "float32"}
    with gunicorn(tmp_path_factory.mktemp("service"), wait_for="/health", **variables) as started:
        eventually(lambda: started.status_of("/ready") == 200, PATIENCE)
        yield started


def forkserver_process(service: Gunicorn) -> psutil.Process:
    """The forkserver, a child of the worker, once there is one."""

    def look() -> list[psutil.Process]:
        workers = psutil.Process(service.process.pid).children()
        children = [child for worker in workers for child in worker.children()]
        return [child for child in children if "service.engines.gte.process" in child.cmdline()]

    return eventually(look, PATIENCE)[0]


def engine_process(service: Gunicorn) -> psutil.Process:
    """The engine, the forkserver's child, once there is one."""
    return eventually(lambda: forkserver_process(service).children(), PATIENCE)[0]


def test_gte_serves_the_encoders_tasks(service: Gunicorn) -> None:
    answer = service.post(
        "/predict", {"task_type": "embedding", "input_text": ["甲", "乙", "甲"]}, timeout=PATIENCE
    )
    assert answer.status == 200, answer.body
    result = answer.json["result"]
    assert result["dimension"] == SHORT["hidden"] == len(result["embeddings"][0])
    assert result["embeddings"][0] == result["embeddings"][2]
    assert answer.json["model"] == "iic/nlp_gte_sentence-embedding_chinese-large (float32)"
    similar = service.predict("similarity", "今天天气真好", candidates=["今天天气真好", "量子"])
    scores = similar.json["result"]["scores"]
    assert scores[0] == pytest.approx(1, abs=1e-4), "a cosine, although GTE's vectors are not of length 1"
    openai = service.post("/v1/embeddings", {"input": "甲"}, timeout=PATIENCE).json
    assert len(openai["data"][0]["embedding"]) == SHORT["hidden"]
    assert openai["usage"]["prompt_tokens"] == 3


def test_the_worker_never_loads_torch(service: Gunicorn) -> None:
    worker = service.records()[0]["pid"]
    libraries = {Path(mapped.path).name for mapped in psutil.Process(worker).memory_maps()}
    assert not any(name.startswith("libtorch") for name in libraries)
    engine = {Path(mapped.path).name for mapped in engine_process(service).memory_maps()}
    assert any(name.startswith("libtorch") for name in engine)


def test_health_answers_and_predictions_wait_while_the_engine_comes_back(service: Gunicorn) -> None:
    engine_process(service).kill()
    assert service.status_of("/health") == 200
    body = {"task_type": "embedding", "input_text": "甲"}
    eventually(lambda: service.post("/predict", body, timeout=PATIENCE).status == 200, PATIENCE)
    eventually(lambda: service.status_of("/ready") == 200, PATIENCE)
    metrics = service.get("/metrics", timeout=PATIENCE).body.decode()
    assert 'gte_engine_restarts_total{engine="encoder",reason="killed"} 1.0' in metrics


def test_a_lost_engine_is_a_fork_away_and_a_lost_forkserver_is_loaded_again(service: Gunicorn) -> None:
    """The engine serves on without its forkserver; both lost together cost the time of a start."""
    body = {"task_type": "embedding", "input_text": "甲"}
    forkserver, engine = forkserver_process(service), engine_process(service)
    engine.kill()
    eventually(lambda: service.post("/predict", body, timeout=PATIENCE).status == 200, PATIENCE)
    assert forkserver_process(service) == forkserver
    second = engine_process(service)
    assert second != engine
    forkserver.kill()
    eventually(lambda: not forkserver.is_running() or forkserver.status() == psutil.STATUS_ZOMBIE, PATIENCE)
    assert service.post("/predict", body, timeout=PATIENCE).status == 200
    second.kill()
    eventually(lambda: service.post("/predict", body, timeout=PATIENCE).status == 200, PATIENCE)
    assert forkserver_process(service) != forkserver


def test_a_stopped_engine_ends_with_its_worker_too(service: Gunicorn) -> None:
    engine = engine_process(service)
    engine.suspend()
    os.kill(service.records()[0]["pid"], signal.SIGKILL)
    eventually(lambda: not engine.is_running(), PATIENCE)
    eventually(lambda: service.status_of("/ready") == 200, PATIENCE)


def test_the_engine_ends_with_its_worker_however_that_ends(service: Gunicorn) -> None:
    engine = engine_process(service)
    os.kill(service.records()[0]["pid"], signal.SIGKILL)
    engine.wait(PATIENCE)
    eventually(lambda: service.status_of("/ready") == 200, PATIENCE)
    assert engine_process(service).pid != engine.pid
