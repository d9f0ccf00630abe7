"""ModelScope's pipeline, and the scores that it computes and does not tell. Only the engine process imports this.

How a task is put to the model is its card's: a schema of types to look for; labels as ``labels,with,commas|text``
with the schema ``{"分类": null}`` or ``{"情感分类": null}``; a question as the only type.
"""

import math
import time
from pathlib import Path
from typing import Any

Span = dict[str, Any]  # type, text, start, end


class OutOfTimeError(Exception):
    """The request took longer than it may."""


class Model:
    """The pipeline, for one thread."""

    def __init__(self, directory: Path, task: str, *, trusts_code: bool) -> None:
        """Load it: some seconds, most of which are imports.

        Raises:
            ImportError: torch or modelscope is not installed.
        """
        if trusts_code:
            from modelscope.pipelines import pipeline as build

            self._pipeline: Any = build(task, model=str(directory), device="cpu", trust_remote_code=True)
        else:
            # The class itself: the factory looks publishers up on the network, and would run the code of some.
            from modelscope.pipelines.nlp.siamese_uie_pipeline import SiameseUiePipeline

            self._pipeline = SiameseUiePipeline(model=str(directory), device="cpu")
        self.has_scores = hasattr(self._pipeline, "get_entities")
        self._deadline = math.inf
        self._offsets: list[tuple[int, int]] = []
        self._heads: list[float] = []
        self._tails: list[float] = []
        if self.has_scores:
            self._entities = self._pipeline.get_entities
            self._pipeline.get_entities = self._keep_scores

    def paths(
        self, text: str, schema: dict[str, Any], *, every_prefix: bool, seconds: float
    ) -> list[list[Span]]:
        """What the schema finds: one list of spans a path, from the first level to the last."""
        self._deadline = time.monotonic() + seconds
        found = self._pipeline(text, schema=schema, output_all_prefix=every_prefix)["output"]
        paths = [
            [
                {"type": one["type"], "text": one["span"], "start": one["offset"][0], "end": one["offset"][1]}
                for one in path
            ]
            for path in found
        ]
        # The pointers may fall on the special tokens at both ends, which are no text.
        return [path for path in paths if all(one["start"] < one["end"] for one in path)]

    def choose(self, text: str, labels: list[str], question: str, seconds: float) -> dict[str, float]:
        """How well each label answers: a softmax over the mean of the two pointers' logits on it."""
        prefix = ",".join(labels)
        self.paths(f"{prefix}|{text}", {question: None}, every_prefix=False, seconds=seconds)
        logits = {}
        start = 0
        for label in labels:
            logits[label] = self._logit(start, start + len(label))
            start += len(label) + 1
        highest = max(logits.values())
        weights = {label: math.exp(logit - highest) for label, logit in logits.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def find(self, text: str, question: str, seconds: float) -> Span:
        """The best answer to ``question`` with its score, the sigmoid of the pointers' mean; an empty one where the
        model finds none."""
        paths = self.paths(text, {question: None}, every_prefix=False, seconds=seconds)
        answers = [
            {**path[0], "score": _sigmoid(self._logit(path[0]["start"], path[0]["end"]))} for path in paths
        ]
        nothing = {"type": question, "text": "", "start": 0, "end": 0, "score": 0.0}
        return max(answers, key=lambda answer: answer["score"], default=nothing)

    def _keep_scores(self, text: str, offsets: Any, head_probs: Any, tail_probs: Any) -> Any:
        # Called once a type and level, so that a schema which finds too much is given up in time.
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        self._offsets, self._heads, self._tails = list(offsets), list(head_probs), list(tail_probs)
        return self._entities(text, offsets, head_probs, tail_probs)

    def _logit(self, start: int, end: int) -> float:
        """Of the span, by the tokens that begin and end it; far below any other where no token does."""
        heads = [
            head for (at, to), head in zip(self._offsets, self._heads, strict=True) if at == start and to > at
        ]
        tails = [
            tail for (at, to), tail in zip(self._offsets, self._tails, strict=True) if to == end and to > at
        ]
        return (heads[0] + tails[0]) / 2 if heads and tails else -100.0


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
