"""Zero-shot choice between labels: compare the text with sentences made from each label.

The E5 encoder ranks well, but all its cosines are between about 0.7 and 1.0, because it was trained with a softmax at
temperature 0.01 (Wang et al. 2024, "Multilingual E5 Text Embeddings"). Scores are therefore a softmax over the cosines.
Its temperature is a choice (wider than in training, so that near ties are visible) and not a calibration: only the
order of the scores is meaningful, not their exact values.
"""

import math
from collections.abc import Mapping, Sequence

from service.engines.interface import Encoder
from service.tasks.task import cosine

TEMPERATURE = 0.02


def score(encoder: Encoder, text: str, hypotheses: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """A score per label, adding up to 1, from sentences that would be close to ``text`` if the label held.

    A label's cosine is the mean over its sentences, so that no single wording decides. The text is encoded as a query,
    the sentences as passages, which separated labels better than the reverse.
    """
    sentences = [sentence for wordings in hypotheses.values() for sentence in wordings]
    vectors = iter(encoder.encode(sentences, "passage"))
    of_text = encoder.encode([text])[0]
    cosines = {
        label: sum(cosine(of_text, next(vectors)) for _ in wordings) / len(wordings)
        for label, wordings in hypotheses.items()
    }
    return softmax(cosines, TEMPERATURE)


def softmax(values: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Positive scores that add up to 1, in the ratio ``exp(value / temperature)``, rounded to six digits."""
    highest = max(values.values())
    weights = {label: math.exp((value - highest) / temperature) for label, value in values.items()}
    total = sum(weights.values())
    return {label: round(weight / total, 6) for label, weight in weights.items()}


def best(scores: Mapping[str, float]) -> str:
    """The label with the highest score; of equal ones, the first."""
    return max(scores, key=scores.__getitem__)
