"""The encoder itself: BERT's forward pass over texts laid end to end, without padding.

The tokens of a batch are the rows of one matrix, so that every linear layer computes on them at once and on nothing
else. Only attention looks at texts one by one: those of one length together, as they lie. Where the vector is that of
``[CLS]``, the last layer computes it for ``[CLS]`` alone.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy
import torch
from torch.nn import functional

from service.engines.gte.checkpoint import Configuration
from service.engines.gte.linear import Linear, Packed, Plain, Quantized, Stored, supports_bfloat16
from service.engines.gte.precision import Precision
from service.engines.gte.tokens import Tokens
from service.engines.gte.weights import Weights

MakeLinear = Callable[..., Linear]


class Norm:
    """Layer normalisation, in float32 whatever the products are in."""

    def __init__(self, weights: Weights, name: str, size: int, epsilon: float, device: torch.device) -> None:
        self._weight = weights.copy(f"{name}.weight", size).to(device)
        self._bias = weights.copy(f"{name}.bias", size).to(device)
        self._epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)


class Attention:
    """Multi-head attention within each text, with its residual connection and normalisation."""

    def __init__(
        self,
        weights: Weights,
        name: str,
        configuration: Configuration,
        make: MakeLinear,
        device: torch.device,
        *,
        first_only: bool,
    ) -> None:
        """``first_only``: attention of each text's first token alone, over all tokens of the text."""
        hidden = configuration.hidden
        self._heads = configuration.heads
        self._first_only = first_only
        parts = [
            (
                weights.copy(f"{name}.self.{part}.weight", hidden, hidden),
                weights.copy(f"{name}.self.{part}.bias", hidden),
            )
            for part in ("query", "key", "value")
        ]
        # One product for all three, which read the same rows.
        cut = 1 if first_only else 0
        self._query = make(*parts[0]) if first_only else None
        self._rows = make(
            torch.cat([weight for weight, _ in parts[cut:]]), torch.cat([bias for _, bias in parts[cut:]])
        )
        del parts
        with weights.tensor(f"{name}.output.dense.weight", hidden, hidden) as weight:
            self._out = make(weight, weights.copy(f"{name}.output.dense.bias", hidden))
        self._norm = Norm(weights, f"{name}.output.LayerNorm", hidden, configuration.epsilon, device)

    def __call__(self, x: torch.Tensor, texts: "Texts") -> torch.Tensor:
        if self._query is not None:
            first = x[texts.firsts]
            mixed = self._mixed(self._rows(x), self._query(first), texts)
            return self._norm(first + self._out(mixed))
        return self._norm(x + self._out(self._mixed(self._rows(x), None, texts)))

    def _mixed(self, rows: torch.Tensor, query: torch.Tensor | None, texts: "Texts") -> torch.Tensor:
        heads = self._heads
        parts = 2 if query is not None else 3
        size = rows.shape[1] // parts
        out = rows.new_empty(len(texts.firsts) if query is not None else len(rows), size)
        for group in texts.groups:
            of_group = rows[group.begin : group.end].view(group.count, group.length, parts, heads, -1)
            *_, key, value = of_group.permute(2, 0, 3, 1, 4)
            if query is None:
                asking = of_group.permute(2, 0, 3, 1, 4)[0]
                target = out[group.begin : group.end].view(group.count, group.length, heads, -1)
            else:
                asking = query[group.first : group.first + group.count].view(group.count, 1, heads, -1)
                asking = asking.transpose(1, 2)
                target = out[group.first : group.first + group.count].view(group.count, 1, heads, -1)
            target.copy_(functional.scaled_dot_product_attention(asking, key, value).transpose(1, 2))
        return out


class Feed:
    """The two feed-forward products, with their residual connection and normalisation."""

    def __init__(
        self,
        weights: Weights,
        name: str,
        configuration: Configuration,
        make: MakeLinear,
        device: torch.device,
    ) -> None:
        hidden, inner = configuration.hidden, configuration.intermediate
        with weights.tensor(f"{name}.intermediate.dense.weight", inner, hidden) as weight:
            self._wide = make(weight, weights.copy(f"{name}.intermediate.dense.bias", inner), gelu=True)
        with weights.tensor(f"{name}.output.dense.weight", hidden, inner) as weight:
            self._narrow = make(weight, weights.copy(f"{name}.output.dense.bias", hidden))
        self._norm = Norm(weights, f"{name}.output.LayerNorm", hidden, configuration.epsilon, device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._norm(x + self._narrow(self._wide(x)))


class Group:
    """Texts of one length that lie end to end: ``count`` texts of ``length`` tokens, rows ``begin`` to ``end``;
    ``first`` is the place of the first of them among the texts."""

    def __init__(self, first: int, count: int, begin: int, length: int) -> None:
        self.first, self.count, self.begin, self.length = first, count, begin, length
        self.end = begin + count * length


class Texts:
    """The texts of a batch, sorted by length, as rows of one matrix."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        """``lengths``: ascending."""
        self.groups: list[Group] = []
        begin = 0
        for length, same in groupby(enumerate(lengths), key=lambda pair: pair[1]):
            places = [place for place, _ in same]
            self.groups.append(Group(places[0], len(places), begin, length))
            begin = self.groups[-1].end
        starts = numpy.cumsum([0, *lengths[:-1]])
        self.firsts = torch.from_numpy(starts).to(device)
        self.places = torch.cat([torch.arange(length) for length in lengths]).to(device)


class Model:
    """The encoder of a checkpoint in one precision. One call at a time."""

    def __init__(self, directory: Path, configuration: Configuration, precision: Precision) -> None:
        """Read the checkpoint in ``directory``.

        Raises:
            CheckpointError: its files do not hold the model that ``configuration`` describes.
        """
        self.configuration = configuration
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = Weights(directory)
        hidden = configuration.hidden
        self._words = weights.copy("embeddings.word_embeddings.weight", configuration.vocabulary, hidden)
        if precision != "float32":
            self._words = self._words.to(torch.bfloat16)
        self._words = self._words.to(self.device)
        places = weights.copy("embeddings.position_embeddings.weight", configuration.positions, hidden)
        # Every token is of the first kind: ModelScope's pipeline encodes one text at a time.
        with weights.tensor("embeddings.token_type_embeddings.weight", configuration.kinds, hidden) as kinds:
            self._places = (places + kinds[0]).to(self.device)
        self._norm = Norm(weights, "embeddings.LayerNorm", hidden, configuration.epsilon, self.device)
        make = self._maker(precision)
        # What the products are computed in, for the log: bfloat16 weights can do without bfloat16 instructions.
        self.products = {"int8": "int8", "float32": "float32"}.get(
            precision, "bfloat16" if self.device.type != "cpu" or supports_bfloat16() else "float32"
        )
        self._layers = []
        for index in range(configuration.layers):
            name = f"encoder.layer.{index}"
            first_only = configuration.pooling == "cls" and index == configuration.layers - 1
            attention = Attention(
                weights, f"{name}.attention", configuration, make, self.device, first_only=first_only
            )
            self._layers.append((attention, Feed(weights, name, configuration, make, self.device)))

    def _maker(self, precision: Precision) -> MakeLinear:
        device = self.device

        def make(weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool = False) -> Linear:
            if device.type != "cpu":
                kind = torch.float32 if precision == "float32" else torch.bfloat16
                return Plain(weight.to(device, kind), bias.to(device, kind), gelu=gelu)
            if precision == "int8":
                return Quantized(weight, bias, gelu=gelu)
            if precision == "float32":
                return Packed(weight, bias, torch.float32, gelu=gelu)
            if supports_bfloat16():
                return Packed(weight, bias, torch.bfloat16, gelu=gelu)
            return Stored(weight, bias, gelu=gelu)

        return make

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def encode(
        self, sequences: Sequence[Tokens]
    ) -> numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]:
        """The vector of each sequence of tokens, in order: float32, one row each.

        Raises:
            IndexError: a token is not of the vocabulary. ValueError: a sequence is empty or too long.
        """
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        lengths = [len(sequences[index]) for index in order]
        if not lengths or lengths[0] < 1 or lengths[-1] > self.configuration.positions:
            raise ValueError(f"sequences of 1 to {self.configuration.positions} tokens are taken")
        ids = torch.from_numpy(numpy.concatenate([sequences[index] for index in order])).to(self.device)
        texts = Texts(lengths, self.device)
        x = self._norm(functional.embedding(ids, self._words).float() + self._places[texts.places])
        for attention, feed in self._layers:
            x = feed(attention(x, texts))
        if self.configuration.pooling == "avg":
            x = torch.stack([part.mean(dim=0) for part in torch.split(x, lengths)])
        if self.configuration.normalize:
            x = functional.normalize(x, dim=-1)
        vectors = numpy.empty((len(order), self.configuration.hidden), dtype=numpy.float32)
        vectors[order] = x.float().cpu().numpy()
        return vectors
