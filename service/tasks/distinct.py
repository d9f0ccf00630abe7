"""Encode equal texts once."""

from collections.abc import Sequence

from service.engines.interface import Encoder, Role


def encode_distinct(encoder: Encoder, texts: Sequence[str], role: Role = "query") -> list[list[float]]:
    """``encoder.encode``, each different text once; equal texts share one vector, which must not be modified."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == len(texts):
        return encoder.encode(texts, role)
    vectors = dict(zip(distinct, encoder.encode(distinct, role), strict=True))
    return [vectors[text] for text in texts]
