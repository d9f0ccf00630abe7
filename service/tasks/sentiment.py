"""``sentiment``: whether a text is positive, negative or neutral about its subject.

With the encoder of the embedded default a model fitted to it decides (``fitted_sentiment``); with another one the
text is compared with the sentences below, and the words in it change the odds.
"""

from collections.abc import Mapping
from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.engines.simplified import simplified
from service.tasks import extraction
from service.tasks.fitted_sentiment import weights_for
from service.tasks.rules.opinion import Opinion, opinion_of
from service.tasks.task import Task, TaskInput
from service.tasks.zero_shot import best, score

# Several wordings a label, so that statements about products, service, moods and plain facts are each close to one.
# Chosen by hand on two dozen short sentences, of which 23 are right; measured on the same sentences, so that is no
# accuracy.
HYPOTHESES = {
    "positive": ("好评，很满意，值得推荐。", "我很喜欢，很开心。", "质量很好，非常棒。"),
    "negative": ("差评，很失望，不推荐。", "我很讨厌，很生气。", "质量很差，又坏了。"),
    "neutral": (
        "这是一则客观的通知或新闻。",
        "他昨天去了那里。",
        "会议于上午九点举行。",
        "一般般，没什么特别的。",
    ),
}


# By how much a word of praise or complaint, a request, and the lack of both change the odds. Chosen on the half of
# benchmarks/answers that is there to choose on.
_WORD_ODDS = 8.0
_MOST_WORDS = 3
_REQUEST_ODDS = 6.0
_PLAIN_ODDS = 2.5


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"label", "score", "scores"}``."""
    encoder = engines.encoder()
    opinion = opinion_of(simplified(task_input.text).text)
    weights = weights_for(encoder)
    if weights is None:
        scores = weighed(score(encoder, task_input.text, HYPOTHESES), opinion)
    else:
        scores = weights.scores(encoder.encode([task_input.text])[0], opinion)
    label = best(scores)
    return {"label": label, "score": scores[label], "scores": scores}


def weighed(scores: Mapping[str, float], opinion: Opinion) -> dict[str, float]:
    """``scores``, the odds of each label multiplied by what the words say, adding up to 1 again."""
    balance = max(-_MOST_WORDS, min(_MOST_WORDS, opinion.praise - opinion.complaint))
    factors = {"positive": _WORD_ODDS**balance, "negative": _WORD_ODDS**-balance, "neutral": 1.0}
    if not opinion.praise and not opinion.complaint:
        factors["neutral"] = _REQUEST_ODDS if opinion.is_request else _PLAIN_ODDS
    products = {label: value * factors[label] for label, value in scores.items()}
    total = sum(products.values())
    return {label: round(value / total, 6) for label, value in products.items()}


TASK = Task(
    "sentiment",
    "positive, negative or neutral",
    (EngineKind.ENCODER,),
    answer,
    by_rules=True,
    extractor_answer=extraction.sentiment,
)
