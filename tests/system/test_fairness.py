"""Clients that ask for much take nothing away from those that ask for little, through a real gunicorn."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.made_checkpoint import make
from tests.system.conftest import Answer, Gunicorn, eventually, gunicorn

PATIENCE = 60.0
SENTENCE = "今天的天气很好，我们去公园散步，然后回家吃饭。"
# As much as fits into the model's window.
LONG = {"embedded": (SENTENCE * 60)[:1200], "gte": (SENTENCE * 60)[:480]}
# Small, but large enough for 128 long texts to take many seconds.
SLOW = {"layers": 4, "hidden": 512, "heads": 8, "intermediate": 2048}


@pytest.fixture(scope="module", params=["embedded", "gte"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    variables = {}
    if request.param == "gte":
        directory = make(tmp_path_factory.mktemp("made") / "gte", **SLOW)  # type: ignore[arg-type]
        variables = {"GTE_MODEL_DIR": str(directory), "GTE_PRECISION": "float32"}
    with gunicorn(tmp_path_factory.mktemp("service"), wait_for="/health", **variables) as started:
        eventually(lambda: started.status_of("/ready") == 200, PATIENCE)
        yield started


@contextlib.contextmanager
def two_heavy_clients(service: Gunicorn) -> Iterator[None]:
    """Each sends eight long texts at a time, with eight requests under way, and again whenever one is answered."""
    over = threading.Event()
    long = LONG[service.get("/health").json["engine"]]

    def loop(client: int, number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            texts = [f"{client} {number} {turn} {index} {long}" for index in range(8)]
            # Ends without an answer when the test is over: the service drops what is left of it.
            with contextlib.suppress(OSError):
                ask(service, client, "/v1/embeddings", {"input": texts}, timeout=5)

    with ThreadPoolExecutor(16) as pool:
        for client in (1, 2):
            for number in range(8):
                pool.submit(loop, client, number)
        try:
            eventually(lambda: service.get("/metrics").body.count(b"gte_queue_depth"), PATIENCE)
            time.sleep(2)
            yield
        finally:
            over.set()


def ask(service: Gunicorn, client: int, path: str, body: object, timeout: float = 30) -> Answer:
    return service.post(path, body, headers={"X-Forwarded-For": f"192.0.2.{client}"}, timeout=timeout)


def test_two_clients_of_long_texts_starve_nobody(service: Gunicorn) -> None:
    with two_heavy_clients(service), ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        named = list(
            pool.map(
                lambda _: ask(
                    service, 3, "/predict", {"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}
                ),
                range(8),
            )
        )
        seconds = time.monotonic() - began
        assert [answer.status for answer in named] == [200] * 8
        assert seconds < 5, "cheap work waited for the encoder"
        began = time.monotonic()
        short = ask(service, 4, "/v1/embeddings", {"input": "北京"})
        assert short.status == 200
        assert time.monotonic() - began < 8, "a short text waited for whole requests of others"
        assert service.get("/health").status == 200
    # What the two still had waiting is dropped once they are gone.
    eventually(lambda: b'gte_queue_depth{queue="encoder"} 0' in service.get("/metrics").body, 30)
