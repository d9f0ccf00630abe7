"""ModelScope's pipeline, and the scores that it computes but does not return. Only the engine process imports this.

The form of each task is that of the model's card: a schema of types to look for; labels as ``labels,with,commas|text``
with the schema ``{"分类": null}`` or ``{"情感分类": null}``; a question as the only type.
"""

import math
import os
import time
from pathlib import Path
from typing import Any

from service.engines.interface import WindowExceededError

# Of a prompt that is too long, the model reads this many tokens from its beginning and as many from its end.
_KEPT_OF_PROMPT = 60

Span = dict[str, Any]  # type, text, start, end


class OutOfTimeError(Exception):
    """The request took longer than it may."""


def import_all() -> None:
    """Import what every pipeline needs, which takes seconds.

    Raises:
        ImportError: torch or modelscope is not installed.
    """
    import modelscope.pipelines.nlp.siamese_uie_pipeline  # noqa: F401
    import torch

    # The pipeline enables the tokenizer's threads, which do not survive a fork and are not worth it.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)


class UninluModel:
    """The pipeline, for one thread.

    ModelScope's pipeline reads a text in windows of 384 tokens that begin 352 apart, so it reads a long one completely.
    But a prompt has one window of 128 tokens and is truncated silently (modelscope 1.40,
    ``SiameseUiePipeline.tokenize_sample``). Labels are part of the text, so for them the text beyond the first window
    would not count. This class refuses what does not fit.
    """

    def __init__(self, directory: Path, task: str, *, trusts_code: bool) -> None:
        """Load the weights. ``task``: ModelScope's name of it, for a model with code of its own."""
        if trusts_code:
            from modelscope.pipelines import pipeline as build

            self._pipeline: Any = build(task, model=str(directory), device="cpu", trust_remote_code=True)
        else:
            # Not by the factory, which looks publishers up on the network and would run the code of some.
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
            self._tokenize = self._pipeline.preprocessor
            self._pipeline.preprocessor = self._tokenize_whole_prompts

    def warm_up(self) -> None:
        """Compute once, so that no request waits for initialisation."""
        self.paths("预热", {"预热": None}, every_prefix=False, seconds=math.inf)

    def paths(
        self, text: str, schema: dict[str, Any], *, every_prefix: bool, seconds: float
    ) -> list[list[Span]]:
        """The results of the schema: one list of spans a path, from the first level to the last."""
        self._deadline = time.monotonic() + seconds
        paths = self._pipeline(text, schema=schema, output_all_prefix=every_prefix)["output"]
        paths = [
            [
                {"type": one["type"], "text": one["span"], "start": one["offset"][0], "end": one["offset"][1]}
                for one in path
            ]
            for path in paths
        ]
        # The pointers may be at the special tokens at both ends, which are not text.
        return [path for path in paths if all(one["start"] < one["end"] for one in path)]

    def choose(self, text: str, labels: list[str], question: str, seconds: float) -> dict[str, float]:
        """How well each label answers: a softmax over the mean of the two pointers' logits on it.

        Raises:
            WindowExceededError: the labels and the text are too long to be read together.
        """
        prefix = ",".join(labels) + "|"
        self._require_one_window(prefix, text)
        self.paths(prefix + text, {question: None}, every_prefix=False, seconds=seconds)
        logits = {}
        start = 0
        for label in labels:
            logits[label] = self._logit(start, start + len(label))
            start += len(label) + 1
        highest = max(logits.values())
        weights = {label: math.exp(logit - highest) for label, logit in logits.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def find(self, text: str, question: str, seconds: float) -> Span:
        """The best answer to ``question`` with its score, the sigmoid of the pointers' mean; an empty one if the model
        finds none.

        Raises:
            WindowExceededError: the question is too long.
        """
        tokens, window = len(self._tokenize([f"{question}: "])[0].ids), self._pipeline.hint_max_len
        if tokens > window:
            raise WindowExceededError("question", tokens, window, 0)
        paths = self.paths(text, {question: None}, every_prefix=False, seconds=seconds)
        answers = [
            {**path[0], "score": _sigmoid(self._logit(path[0]["start"], path[0]["end"]))} for path in paths
        ]
        nothing = {"type": question, "text": "", "start": 0, "end": 0, "score": 0.0}
        return max(answers, key=lambda answer: answer["score"], default=nothing)

    def _require_one_window(self, labels: str, text: str) -> None:
        encoding, window = self._tokenize([labels + text])[0], self._pipeline.max_len
        if len(encoding.ids) > window:
            # The last token is [SEP].
            length = encoding.offsets[window - 2][1] - len(labels)
            raise WindowExceededError(
                "text" if length > 0 else "labels", len(encoding.ids), window, max(0, length)
            )

    def _tokenize_whole_prompts(self, texts: list[str], **options: Any) -> Any:
        """Replaces the pipeline's tokenizer. A prompt ends with the name asked for, after the answers of the levels
        above; if one of those is too long, drop its middle."""
        longest = options.get("max_length")
        if longest is not None:
            texts = [self._shortened(text, longest) for text in texts]
        return self._tokenize(texts, **options)

    def _shortened(self, prompt: str, longest: int) -> str:
        offsets = self._tokenize([prompt])[0].offsets
        if len(offsets) <= longest:
            return prompt
        return prompt[: offsets[_KEPT_OF_PROMPT][1]] + prompt[offsets[-_KEPT_OF_PROMPT - 1][0] :]

    def _keep_scores(self, text: str, offsets: Any, head_probs: Any, tail_probs: Any) -> Any:
        # Called once a type and level: check the time, because a schema may find too much.
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        self._offsets, self._heads, self._tails = list(offsets), list(head_probs), list(tail_probs)
        return self._entities(text, offsets, head_probs, tail_probs)

    def _logit(self, start: int, end: int) -> float:
        """The score of the span, from the tokens that begin and end it; very low if no token does."""
        heads = [
            head for (at, to), head in zip(self._offsets, self._heads, strict=True) if at == start and to > at
        ]
        tails = [
            tail for (at, to), tail in zip(self._offsets, self._tails, strict=True) if to == end and to > at
        ]
        return (heads[0] + tails[0]) / 2 if heads and tails else -100.0


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
