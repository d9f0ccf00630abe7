"""``sentiment``: whether a text is positive, negative or neutral about its subject."""

from typing import Any

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.tasks import extraction
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


def answer(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """``{"label", "score", "scores"}``; see ``hypotheses`` for the method and what the scores mean."""
    scores = score(engines.encoder(), task_input.text, HYPOTHESES)
    label = best(scores)
    return {"label": label, "score": scores[label], "scores": scores}


TASK = Task(
    "sentiment",
    "positive, negative or neutral",
    (EngineKind.ENCODER,),
    answer,
    extractor_answer=extraction.sentiment,
)
