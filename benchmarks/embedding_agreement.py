"""How close GTE's lower precisions come to float32, beside torch's dynamic int8.

    python -m benchmarks.embedding_agreement [--checkpoint DIRECTORY] [--layers 24] [--texts 200]

On a made checkpoint whose vectors differ (tests/made_checkpoint.py) unless a real one is named. Centred cosine: of the
vectors less their mean, which takes away what all have in common; mean and lowest. Rank agreement: how often the
nearest other text is the same one, and how many of the five nearest.
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn import functional

from service.engines.gte import forward
from service.engines.gte.checkpoint import read_configuration
from service.engines.gte.tokens import Tokenizer
from tests.made_checkpoint import make, varied


class Dynamic:
    """torch.ao.quantization.quantize_dynamic, as its tutorial uses it."""

    kind = torch.float32

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        *,
        gelu: bool,
        after_gelu: bool = False,  # noqa: ARG002
    ) -> None:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
        self._layer = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(layer), {torch.nn.Linear}, torch.qint8
        )
        self._gelu = gelu

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._layer(x)
        return functional.gelu(y) if self._gelu else y


def unit(vectors: Any) -> Any:
    """Rows of length 1."""
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(vectors: Any) -> Any:
    """The five nearest others of each."""
    cosines = unit(vectors) @ unit(vectors).T
    numpy.fill_diagonal(cosines, -2)
    return (-cosines).argsort(axis=1)[:, :5]


def main() -> None:
    """The command."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description="Agreement of precisions with float32")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--texts", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        directory = arguments.checkpoint or make(Path(scratch) / "made", layers=arguments.layers)
        compare(directory, varied(arguments.texts))


def compare(directory: Path, texts: list[str]) -> None:
    """Print a row for each precision."""
    configuration = read_configuration(directory)
    sequences = Tokenizer(directory, 512).encode(texts)
    threads = torch.get_num_threads()

    def vectors(precision: Any) -> Any:
        products = "float32" if precision == "bfloat16" else precision
        model = forward.GteModel(directory, configuration, precision, products, threads)  # type: ignore[arg-type]
        return numpy.concatenate([model.encode(sequences[i : i + 4]) for i in range(0, len(sequences), 4)])

    exact = vectors("float32")
    cosines = (unit(exact) @ unit(exact).T)[~numpy.eye(len(exact), dtype=bool)]
    print(
        f"{len(texts)} texts, {configuration.layers} layers; cosine of two different texts {cosines.mean():.2f}"
    )
    print(
        "| precision | centred cosine mean | lowest | same nearest | of five nearest |\n|---|---|---|---|---|"
    )
    ours = forward.Quantized  # type: ignore[attr-defined]
    for name in ("bfloat16", "int8", "torch dynamic int8"):
        if name == "torch dynamic int8":
            forward.Quantized = Dynamic  # type: ignore[assignment, attr-defined]
        lower = vectors("bfloat16" if name == "bfloat16" else "int8")
        close = (unit(exact - exact.mean(0)) * unit(lower - lower.mean(0))).sum(axis=1)
        mine, others = nearest(exact), nearest(lower)
        five = numpy.mean([len(set(a) & set(b)) / 5 for a, b in zip(mine, others, strict=True)])
        same = (mine[:, 0] == others[:, 0]).mean()
        print(f"| {name} | {close.mean():.4f} | {close.min():.4f} | {same:.0%} | {five:.0%} |", flush=True)
    forward.Quantized = ours  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
