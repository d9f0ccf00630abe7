"""BERT's forward pass over concatenated texts, without padding.

The tokens of a batch are the rows of one matrix, so every linear layer computes on all of them at once and on nothing
else. Only attention works on single texts: those of one length together. If the vector is that of ``[CLS]``, the last
layer computes ``[CLS]`` alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import numpy
import torch
from torch.nn import functional

from service.engines.gte import attention as forms
from service.engines.gte import device as devices
from service.engines.gte import row_passes
from service.engines.gte.checkpoint import Configuration
from service.engines.gte.linear import Linear, Packed, Plain, Quantized, Stored, in_turn
from service.engines.gte.parallel_rows import GRANULE, ParallelRows
from service.engines.gte.precision import Precision
from service.engines.gte.tokens import Tokens
from service.engines.gte.weights import Weights

MakeLinear = Callable[..., Linear]


class Norm:
    """Layer normalisation, in float32 whatever the type of the products."""

    def __init__(self, weights: Weights, name: str, size: int, epsilon: float, device: torch.device) -> None:
        self._weight = weights.copy(f"{name}.weight", size).to(device)
        self._bias = weights.copy(f"{name}.bias", size).to(device)
        self._epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)

    def of_sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of ``x + y``; ``y``: as a ``Linear`` gives it."""
        if x.device.type == "cpu" and (passes := row_passes.compiled()):
            return passes.normalised_sum(x, y, self._weight, self._bias, self._epsilon)
        return self(x + y)


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
        """``first_only``: compute only each text's first token, with attention over all tokens of the text."""
        hidden = configuration.hidden
        self._heads = configuration.heads
        names = [f"{name}.self.{part}" for part in ("query", "key", "value")]
        self._query = None
        if first_only:
            with weights.stacked(names[:1], hidden, hidden) as (weight, bias):
                self._query = make(weight, bias, attended=True)
            names = names[1:]
        # One product for all three, or both, because they read the same rows.
        with weights.stacked(names, hidden, hidden) as (weight, bias):
            self._project = make(weight, bias, attended=True)
        self._parts = len(names)
        with weights.stacked([f"{name}.output.dense"], hidden, hidden) as (weight, bias):
            self._out = make(weight, bias)
        self._norm = Norm(weights, f"{name}.output.LayerNorm", hidden, configuration.epsilon, device)

    def room(self, rows: int, like: torch.Tensor) -> torch.Tensor:
        """Where ``project`` puts what so many rows become."""
        return like.new_empty(rows, self._parts * like.shape[1], dtype=self._project.kind)

    def project(self, x: torch.Tensor, projected: torch.Tensor) -> None:
        """Query, key and value of rows ``x``, side by side, or key and value alone."""
        self._project.write(x, projected)

    def query(self, first: torch.Tensor) -> torch.Tensor:
        """The query of each text's first row, if only those are computed."""
        assert self._query is not None  # noqa: S101  for mypy
        return self._query(first)

    def mix(
        self, projected: torch.Tensor, query: torch.Tensor | None, mixed: torch.Tensor, share: "Share"
    ) -> None:
        """The values of a share's texts, mixed by attention, into ``mixed``: a row a token, or with ``query`` a row a
        text."""
        span = slice(share.begin, share.begin + share.count * share.length)
        of_texts = projected[span].view(share.count, share.length, self._parts, self._heads, -1)
        *rest, key, value = of_texts[:, :, :, share.heads].permute(2, 0, 3, 1, 4)
        if query is None:
            asking = rest[0]
            target = mixed[span].view(share.count, share.length, self._heads, -1)
        else:
            texts = slice(share.first, share.first + share.count)
            asking = query[texts].view(share.count, self._heads, 1, -1)[:, share.heads]
            target = mixed[texts].view(share.count, 1, self._heads, -1)
        if share.by_products and query is None:
            for place in range(share.count):
                answer = forms.by_products(asking[place], key[place], value[place])
                target[place, :, share.heads].copy_(answer.transpose(0, 1))
        else:
            answer = forms.flash(asking, key, value)
            target[:, :, share.heads].copy_(answer.transpose(1, 2))

    def mix_ragged(
        self,
        projected: torch.Tensor,
        query: torch.Tensor | None,
        mixed: torch.Tensor,
        texts: "Texts",
        attention: devices.RaggedAttention,
    ) -> None:
        """As ``mix``, for all texts in one call."""
        *rest, key, value = (
            projected[: texts.tokens].view(texts.tokens, self._parts, self._heads, -1).unbind(1)
        )
        if query is None:
            asking, edges, longest = rest[0], texts.edges, texts.longest
        else:
            asking = query.view(len(query), self._heads, -1)
            edges, longest = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device), 1
        answer = attention(asking, key, value, edges, texts.edges, longest, texts.longest)
        mixed[: len(asking)].view(answer.shape).copy_(answer)

    def joined(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Rows ``x`` with the output of attention added and normalised."""
        return self._norm.of_sum(x, self._out(mixed))


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
        with weights.stacked([f"{name}.intermediate.dense"], inner, hidden) as (weight, bias):
            self._wide = make(weight, bias, gelu=True)
        with weights.stacked([f"{name}.output.dense"], hidden, inner) as (weight, bias):
            self._narrow = make(weight, bias, after_gelu=True)
        self._norm = Norm(weights, f"{name}.output.LayerNorm", hidden, configuration.epsilon, device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._norm.of_sum(x, in_turn(self._wide, self._narrow, x))


@dataclass(frozen=True)
class Share:
    """What is attended to at once: ``heads`` of ``count`` texts of ``length`` tokens each, whose rows begin at
    ``begin`` and which are the ``first`` and following texts of the batch. ``by_products``: see ``attention``."""

    begin: int
    first: int
    count: int
    length: int
    heads: slice
    by_products: bool


class Texts:
    """The texts of a batch, sorted by length, as rows of one matrix."""

    def __init__(
        self,
        lengths: Sequence[int],
        heads: int,
        rows: ParallelRows,
        device: torch.device,
        *,
        by_products: bool = False,
    ) -> None:
        """``lengths``: ascending. ``heads``: of the attention, which ``rows`` computes, for texts that are long enough
        ``by_products``."""
        starts = numpy.cumsum([0, *lengths[:-1]])
        self.tokens, self.longest = sum(lengths), lengths[-1]
        self.firsts = devices.to_device(torch.from_numpy(starts), device)
        self.edges = devices.to_device(torch.tensor([*starts, self.tokens], dtype=torch.int32), device)
        self.places = devices.to_device(torch.cat([torch.arange(length) for length in lengths]), device)
        self.rows = -(-self.tokens // GRANULE) * GRANULE  # the last ones belong to no text
        # A GPU computes all rows at once.
        self.parts = rows.parts(self.rows) if device.type == "cpu" else [slice(0, self.rows)]
        runs: list[tuple[int, int, int, int]] = []
        for length, same in groupby(enumerate(lengths), key=lambda pair: pair[1]):
            places = [place for place, _ in same]
            # Texts of one length at once, but among several threads no more than a thread's part.
            step = len(places) if len(self.parts) == 1 else rows.texts_at_once(length)
            for first in range(places[0], places[-1] + 1, step):
                count = min(step, places[-1] + 1 - first)
                runs.append((int(starts[first]), first, count, length))
        # With few texts, share their heads among the threads too.
        pieces = rows.pieces(len(runs)) if len(self.parts) > 1 else 1
        edges = [heads * index // pieces for index in range(pieces + 1)]
        cuts = [slice(begin, end) for begin, end in pairwise(edges)]
        # The longest first, so that the threads end together.
        self.shares = [
            Share(*run, cut, by_products and run[-1] >= forms.LEAST_LENGTH)
            for run in reversed(runs)
            for cut in cuts
        ]


class GteModel:
    """The encoder of a checkpoint in one precision. One call at a time."""

    def __init__(
        self,
        directory: Path,
        configuration: Configuration,
        precision: Precision,
        products: Precision,
        threads: int = 1,
        device: torch.device | None = None,
        *,
        attends_by_products: bool = False,
    ) -> None:
        """Read the checkpoint in ``directory``. ``products``: what the matrix products are computed in. ``device``:
        ``available()`` if None. ``attends_by_products``: see ``attention``; on a CPU.

        Raises:
            CheckpointError: its files do not hold the model that ``configuration`` describes.
        """
        self.configuration = configuration
        self.device = device or devices.available()
        self._attends_by_products = attends_by_products
        weights = Weights(directory)
        hidden = configuration.hidden
        self._words = weights.copy("embeddings.word_embeddings.weight", configuration.vocabulary, hidden)
        if precision != "float32":
            self._words = self._words.to(torch.bfloat16)
        self._words = self._words.to(self.device)
        places = weights.copy("embeddings.position_embeddings.weight", configuration.positions, hidden)
        # Every token has type 0: ModelScope's pipeline encodes one text at a time.
        with weights.tensor("embeddings.token_type_embeddings.weight", configuration.kinds, hidden) as kinds:
            self._places = (places + kinds[0]).to(self.device)
        self._norm = Norm(weights, "embeddings.LayerNorm", hidden, configuration.epsilon, self.device)
        kind = torch.float32 if precision == "float32" else torch.bfloat16
        self._ragged = devices.ragged_attention(self.device, kind)
        make = self._maker(precision, products)
        # The threads share the CPU's cores. A GPU has none, and float32 products of bfloat16 weights have one buffer.
        is_shared = self.device.type == "cpu" and (precision != "bfloat16" or products == "bfloat16")
        self._rows = ParallelRows(threads if is_shared else 1)
        layers: dict[int, tuple[Attention, Feed]] = {}

        def read(index: int) -> None:
            name = f"encoder.layer.{index}"
            first_only = configuration.pooling == "cls" and index == configuration.layers - 1
            attention = Attention(
                weights, f"{name}.attention", configuration, make, self.device, first_only=first_only
            )
            layers[index] = attention, Feed(weights, name, configuration, make, self.device)

        # In parallel too: packing int8 weights is slow.
        self._rows.each(read, range(configuration.layers))
        self._rows.end_threads()
        self._layers = [layers[index] for index in range(configuration.layers)]

    def _maker(self, precision: Precision, products: Precision) -> MakeLinear:
        device = self.device

        def make(
            weight: torch.Tensor,
            bias: torch.Tensor,
            *,
            gelu: bool = False,
            after_gelu: bool = False,
            attended: bool = False,
        ) -> Linear:
            if device.type != "cpu":
                kind = torch.float32 if precision == "float32" else torch.bfloat16
                return Plain(weight.to(device, kind), bias.to(device, kind), gelu=gelu)
            if precision == "int8":
                kind = torch.bfloat16 if attended and self._attends_by_products else torch.float32
                return Quantized(weight, bias, gelu=gelu, after_gelu=after_gelu, kind=kind)
            if precision == "float32":
                return Packed(weight, bias, torch.float32, gelu=gelu)
            if products == "bfloat16":
                return Packed(weight, bias, torch.bfloat16, gelu=gelu)
            return Stored(weight, bias, gelu=gelu)

        return make

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def encode(
        self, sequences: Sequence[Tokens]
    ) -> numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]:
        """The vector of each sequence of tokens, in order: float32, one row each.

        Raises:
            IndexError: a token is not in the vocabulary. ValueError: a sequence is empty or too long.
        """
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        lengths = [len(sequences[index]) for index in order]
        if not lengths or lengths[0] < 1 or lengths[-1] > self.configuration.positions:
            raise ValueError(f"sequences of 1 to {self.configuration.positions} tokens are taken")
        tokens = numpy.concatenate([sequences[index] for index in order])
        ids = devices.to_device(torch.from_numpy(tokens), self.device)
        x = self._vectors(ids, lengths, by_products=self._attends_by_products)
        if self._attends_by_products and not bool(x.isfinite().all()):
            x = self._vectors(ids, lengths, by_products=False)
        vectors = numpy.empty((len(order), self.configuration.hidden), dtype=numpy.float32)
        vectors[order] = devices.to_host(x).numpy()
        return vectors

    def _vectors(self, ids: torch.Tensor, lengths: Sequence[int], *, by_products: bool) -> torch.Tensor:
        """A row for each text; ``ids``: its tokens, text by text."""
        texts = Texts(lengths, self.configuration.heads, self._rows, self.device, by_products=by_products)
        x = self._norm(functional.embedding(ids, self._words).float() + self._places[texts.places])
        x = self._encoded(functional.pad(x, (0, 0, 0, texts.rows - len(x))), texts)
        if self.configuration.pooling == "avg":
            x = torch.stack([part.mean(dim=0) for part in torch.split(x[: sum(lengths)], lengths)])
        if self.configuration.normalize:
            x = functional.normalize(x, dim=-1)
        return x

    def _encoded(self, x: torch.Tensor, texts: Texts) -> torch.Tensor:
        """The last layer's rows: all tokens, or ``[CLS]`` alone."""
        attention, feed = self._layers[0]
        projected = attention.room(len(x), x)
        self._rows.each(lambda part: attention.project(x[part], projected[part]), texts.parts)
        for (attention, feed), (following, _) in pairwise(self._layers):
            mixed = projected.new_zeros(x.shape)
            self._attend(attention, projected, None, mixed, texts)
            projected = following.room(len(x), x)
            step = partial(_through, attention, feed, following, x, mixed, projected)
            self._rows.each(step, texts.parts)
        attention, feed = self._layers[-1]
        query = None
        parts = texts.parts
        if self.configuration.pooling == "cls":
            x = x[texts.firsts]
            query = attention.query(x)
            parts = [slice(0, len(x))]
        mixed = projected.new_zeros(x.shape)
        self._attend(attention, projected, query, mixed, texts)
        self._rows.each(partial(_through, attention, feed, None, x, mixed, None), parts)
        return x

    def _attend(
        self,
        attention: Attention,
        projected: torch.Tensor,
        query: torch.Tensor | None,
        mixed: torch.Tensor,
        texts: Texts,
    ) -> None:
        if self._ragged is not None:
            attention.mix_ragged(projected, query, mixed, texts, self._ragged)
            return
        self._rows.each(partial(attention.mix, projected, query, mixed), texts.shares)


def _through(
    attention: Attention,
    feed: Feed,
    following: Attention | None,
    x: torch.Tensor,
    mixed: torch.Tensor,
    projected: torch.Tensor | None,
    part: slice,
) -> None:
    """Take a part of the rows from one layer's attention to the next one's."""
    rows = feed(attention.joined(x[part], mixed[part]))
    x[part] = rows
    if following is not None and projected is not None:
        following.project(rows, projected[part])
