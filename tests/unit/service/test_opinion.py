"""What words of praise, complaint and request add to the encoder's opinion."""

from __future__ import annotations

import time

import pytest

from service.tasks.rules.opinion import opinion_of
from service.tasks.sentiment import weighed
from service.tasks.zero_shot import best

EVEN = {"positive": 0.34, "negative": 0.33, "neutral": 0.33}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("多谢，你们考虑得真周到。", "positive"),
        ("没有异味，很放心。", "positive"),
        ("不是很满意。", "negative"),
        ("我要投诉，太敷衍了。", "negative"),
        ("请问在哪里可以开发票？", "neutral"),
        ("会议于上午九点举行。", "neutral"),
        ("多亏你们提醒，不然我差点错过报名。", "positive"),
        ("师傅手脚麻利，半小时就修好了。", "positive"),
        ("好好的周末全毁了，没人管。", "negative"),
        ("每次都让我再等等。", "negative"),
        ("我再等等，下周再来取。", "neutral"),
        # A request does not make a complaint neutral.
        ("你们到底什么时候退款？", "negative"),
    ],
)
def test_words_decide_where_the_encoder_does_not(text: str, label: str) -> None:
    scores = weighed(EVEN, opinion_of(text))
    assert best(scores) == label
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


def test_an_encoder_that_is_sure_outweighs_a_word() -> None:
    sure = {"positive": 0.01, "negative": 0.98, "neutral": 0.01}
    assert best(weighed(sure, opinion_of("谢谢你们啊"))) == "negative"


@pytest.mark.parametrize("unit", ["不", "没有", "可以", "不满", "好", "真", "没有任何", "可以可以吗"])
def test_time_grows_with_the_length_alone(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.process_time()
        opinion_of(text)
        return time.process_time() - started

    assert seconds(40_000) < max(20 * seconds(4_000), 0.5)
