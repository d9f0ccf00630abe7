"""``qa``: the part of a context that answers a question.

The method has two simple steps:
  1. The context is cut into sentences; the encoder ranks them by their closeness to the question.
  2. If the question asks for a person, a place, a time, an organisation or a quantity (by its question word),
     the best-ranked of the first few sentences that contains something of that kind gives the answer: of several
     candidates, the one that fits best in the place of the question word. Else the answer is the best sentence, or the
     clause of it that is closest to the question.
The answer is always a slice of the context: ``answer == input_text[start:end]``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.engines.interface import Encoder, EngineKind, Lexical, Token
from service.engines.registry import EngineRegistry
from service.engines.simplified import simplified
from service.tasks import extraction
from service.tasks.distinct import encode_distinct
from service.tasks.original_span import in_original
from service.tasks.question import EDGES, split
from service.tasks.rules.entities import entities_of
from service.tasks.task import Task, TaskInput, cosine

# The number of sentences, best first, that are searched for an answer of the requested kind.
_SENTENCES_SEARCHED = 3
# The candidates of a sentence, in text order, that are weighed against each other: each costs two texts to encode.
_CANDIDATES = 16

_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;]*")
_CLAUSE = re.compile(r"[^，,：:]+")

QUANTITY = "QUANTITY"
# Question words and the kinds of answer they ask for; the first pattern that matches decides.
_KINDS: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = (
    (
        re.compile("什么时候|什么时间|何时|哪一?年|哪一?天|哪个?月|几月几日|几月|几号|几点"),
        frozenset({"TIME"}),
    ),
    (
        re.compile("哪里|哪儿|何处|何地|什么地方|哪个?(?:城市|国家|地方|省|市|县|区)"),
        frozenset({"GPE", "LOC"}),
    ),
    (
        re.compile(
            "(?:哪|什么)[一家个所支]*(?:公司|企业|机构|组织|部门|单位|学校|大学|医院|银行|球队|俱乐部|队)"
        ),
        frozenset({"ORG"}),
    ),
    (re.compile("谁|哪位|何人|什么人"), frozenset({"PERSON"})),
    (re.compile("多少|几[个名位人只条次年天元岁]|多[大长高远久重]"), frozenset({QUANTITY})),
)
_MEASURE = re.compile("(?:多少|几)(.)")
# "谁击败了甲队？": a team or a firm as well as a person.
_BY_BODIES = re.compile(
    "击败|战胜|打败|淘汰|输给|赢|夺冠|夺得|获胜|收购|并购|买下|投资|领投|推出|研发|发布|生产|起诉|主办|承办"
)
# What the name ends with of what is asked for.
_NAMES_OF: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile("(?:哪|什么)[一个所]*(?:学校|大学)"), re.compile("(?:大学|学院|学校|[中小]学|附中|书院)$")),
    (re.compile("(?:哪|什么)[一家个所]*医院"), re.compile("(?:医院|卫生院|卫生中心)$")),
    (re.compile("(?:哪|什么)[一家个]*银行"), re.compile("(?:银行|[工农中建交]行)$")),
    (re.compile("(?:哪|什么)[一支个]*(?:球队|队)"), re.compile("(?:队|俱乐部)$")),
)


@dataclass(frozen=True)
class AnswerSpan:
    """``text == context[start:end]``."""

    text: str
    start: int
    end: int


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"answer", "start", "end", "score"}``; the score is the cosine of the question and the answering
    sentence."""
    context, question = split(task_input.text, task_input.parameters.get("question"))
    text = simplified(context)
    span, score = find(engines.encoder(), engines.lexical(), text.text, simplified(question).text)
    span = in_original(span, text)
    return {"answer": span.text, "start": span.start, "end": span.end, "score": round(score, 6)}


def find(encoder: Encoder, lexical: Lexical, context: str, question: str) -> tuple[AnswerSpan, float]:
    """The answer to ``question`` in ``context`` and the cosine of its sentence with the question."""
    sentences = list(pieces(context, AnswerSpan(context, 0, len(context)), _SENTENCE))
    of_question = encoder.encode([question])[0]
    vectors = encode_distinct(encoder, [sentence.text for sentence in sentences], "passage")
    ranked = sorted(
        (
            (cosine(of_question, vector), sentence)
            for vector, sentence in zip(vectors, sentences, strict=True)
        ),
        key=lambda pair: -pair[0],
    )
    sought = kinds_asked(question)
    if sought is not None:
        pattern, kinds = sought
        for score, sentence in ranked[:_SENTENCES_SEARCHED]:
            candidates = [
                span for span in spans_of(kinds, lexical.tokens(sentence.text), sentence.start)
                if span.text not in question
            ]  # fmt: skip
            if candidates:
                fitting = with_measure(candidates, question) or of_kind_named(candidates, question)
                candidates = (fitting or candidates)[:_CANDIDATES]
                return _most_fitting(encoder, context, sentence, candidates, question, pattern), score
    score, sentence = ranked[0]
    clauses = list(pieces(context, sentence, _CLAUSE))
    if len(clauses) < 2:
        return sentence, score
    vectors = encode_distinct(encoder, [clause.text for clause in clauses], "passage")
    closest = max(range(len(clauses)), key=lambda index: cosine(of_question, vectors[index]))
    return clauses[closest], score


def pieces(context: str, within: AnswerSpan, pattern: re.Pattern[str]) -> Iterator[AnswerSpan]:
    """The parts of ``within`` that match, stripped of white space and punctuation, without empty
    ones."""
    for match in pattern.finditer(context, within.start, within.end):
        text = match.group()
        start = match.start() + len(text) - len(text.lstrip(EDGES))
        end = match.end() - (len(text) - len(text.rstrip(EDGES)))
        if start < end:
            yield AnswerSpan(context[start:end], start, end)


def kinds_asked(question: str) -> tuple[re.Pattern[str], frozenset[str]] | None:
    """The kinds of answer that the question word asks for, with its pattern, or None if it asks for none of them."""
    asked = next(((pattern, kinds) for pattern, kinds in _KINDS if pattern.search(question)), None)
    if asked is not None and asked[1] == {"PERSON"} and _BY_BODIES.search(question):
        return asked[0], asked[1] | {"ORG"}
    return asked


def spans_of(kinds: frozenset[str], tokens: Sequence[Token], offset: int) -> list[AnswerSpan]:
    """The words of one of ``kinds`` in a sentence that begins at ``offset`` of the context."""
    if QUANTITY in kinds:
        return list(_quantities(tokens, offset))
    return [
        AnswerSpan(entity.text, entity.start + offset, entity.end + offset)
        for entity in entities_of(tokens)
        if entity.type in kinds
    ]


def with_measure(candidates: Sequence[AnswerSpan], question: str) -> list[AnswerSpan]:
    """Those of ``candidates`` that have the measure word which the question names ("多少名" -> "2892名")."""
    measure = _MEASURE.search(question)
    return [span for span in candidates if measure is not None and measure.group(1) in span.text]


def of_kind_named(candidates: Sequence[AnswerSpan], question: str) -> list[AnswerSpan]:
    """Those of ``candidates`` that are named like what the question asks for ("哪所学校" -> "东南大学")."""
    ends = next((ends for asked, ends in _NAMES_OF if asked.search(question)), None)
    return [span for span in candidates if ends is not None and ends.search(span.text)]


def _quantities(tokens: Sequence[Token], offset: int) -> Iterator[AnswerSpan]:
    for index, token in enumerate(tokens):
        if token.tag != "m":
            continue
        unit = tokens[index + 1] if index + 1 < len(tokens) else None
        # LAC keeps most measures with their number ("38枚"); a bare number gets the measure or noun that
        # follows.
        has_unit = unit is not None and token.text[-1].isdigit() and unit.tag in ("q", "n")
        last = unit if has_unit and unit is not None else token
        text = "".join(part.text for part in tokens[index : index + (2 if has_unit else 1)])
        yield AnswerSpan(text, token.start + offset, last.end + offset)


def _most_fitting(
    encoder: Encoder,
    context: str,
    sentence: AnswerSpan,
    candidates: list[AnswerSpan],
    question: str,
    pattern: re.Pattern[str],
) -> AnswerSpan:
    if len(candidates) == 1:
        return candidates[0]
    clauses = list(pieces(context, sentence, _CLAUSE))
    around = [
        next(
            (clause for clause in clauses if clause.start <= span.start and span.end <= clause.end), sentence
        )
        for span in candidates
    ]
    statements = [pattern.sub(span.text.replace("\\", r"\\"), question, count=1) for span in candidates]
    statement_vectors = encode_distinct(encoder, statements)
    clause_vectors = encode_distinct(encoder, [clause.text for clause in around], "passage")
    best = max(
        range(len(candidates)), key=lambda index: cosine(statement_vectors[index], clause_vectors[index])
    )
    return candidates[best]


TASK = Task(
    "qa",
    "The part of a context that answers a question",
    (EngineKind.ENCODER, EngineKind.LEXICAL),
    answer,
    parameters=frozenset({"question"}),
    extractor_answer=extraction.qa,
)
