"""How close GTE's lower precisions come to float32, beside torch's dynamic int8.

    python -m benchmarks.embedding_agreement [--checkpoint DIRECTORY] [--layers 24] [--texts 200] [--device cuda]

On a made checkpoint whose vectors differ (tests/made_checkpoint.py) unless a real one is named. Centred cosine: of the
vectors less their mean, which takes away what all have in common; mean and lowest. Rank agreement: how often the
nearest other text is the same one, and how many of the five nearest. With --device cuda: a GPU's float32 and bfloat16
beside the CPU's float32.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn import functional

from service.engines.gte import forward
from service.engines.gte.checkpoint import read_configuration
from service.engines.gte.precision import parse
from service.engines.gte.tokens import Tokenizer
from tests.made_checkpoint import make, varied

# As the engine computes where the processor has no bfloat16 instructions, and where it has.
CPU_FORMS = (
    "bfloat16",
    "bfloat16, products too",
    "bfloat16, products and attention too",
    "int8",
    "int8, attention in bfloat16",
    "torch dynamic int8",
)


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
        kind: torch.dtype = torch.float32,  # noqa: ARG002
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

    def write(self, x: torch.Tensor, target: torch.Tensor) -> None:
        """See ``linear.Linear``."""
        target.copy_(self(x))


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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and (problem := cuda_problem(torch)) is not None:
        sys.exit(f"embedding_agreement: {problem}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        directory = arguments.checkpoint or make(Path(scratch) / "made", layers=arguments.layers)
        compare(directory, varied(arguments.texts), torch.device(arguments.device))


def cuda_problem(library: Any) -> str | None:
    """Why ``library``, torch, cannot compute on a GPU here, or None."""
    if library.cuda.is_available():
        return None
    cuda = f"built for CUDA {library.version.cuda}" if library.version.cuda else "built without CUDA"
    return f"torch {library.__version__} ({cuda}) sees no GPU: --device cuda needs a machine with one and its driver"


def compare(directory: Path, texts: list[str], device: torch.device) -> None:
    """Print a row for each precision of the device."""
    configuration = read_configuration(directory)
    sequences = Tokenizer(directory, 512).encode(texts)
    threads = torch.get_num_threads()

    def vectors(name: str, where: str = "cpu") -> Any:
        precision, _, options = name.partition(", ")
        products = "float32" if precision == "bfloat16" and "products" not in options else precision
        model = forward.GteModel(
            directory,
            configuration,
            parse(precision),
            parse(products),
            threads,
            torch.device(where),
            attends_by_products="attention" in options,
        )
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
    names = CPU_FORMS if device.type == "cpu" else ("float32", "bfloat16")
    for name in names:
        if name == "torch dynamic int8":
            forward.Quantized = Dynamic  # type: ignore[assignment, attr-defined]
        lower = vectors("int8" if name == "torch dynamic int8" else name, device.type)
        close = (unit(exact - exact.mean(0)) * unit(lower - lower.mean(0))).sum(axis=1)
        mine, others = nearest(exact), nearest(lower)
        five = numpy.mean([len(set(a) & set(b)) / 5 for a, b in zip(mine, others, strict=True)])
        same = (mine[:, 0] == others[:, 0]).mean()
        where = name if device.type == "cpu" else f"{name} on {torch.cuda.get_device_name(device)}"
        print(f"| {where} | {close.mean():.4f} | {close.min():.4f} | {same:.0%} | {five:.0%} |", flush=True)
    forward.Quantized = ours  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
