"""A BERT checkpoint of the true format with made-up weights, as ModelScope delivers GTE.

    python -m tests.made_checkpoint DIRECTORY                     24 layers of 1024: the size of GTE-large, 1.3 GB
    python -m tests.made_checkpoint DIRECTORY --layers 2 --bin

The usual initialisation (every weight from N(0, 0.02)) gives nearly parallel vectors: attention is nearly uniform and
adds little to the row of [CLS], which starts out the same for every text. Agreement of precisions measured on such
vectors says nothing. Here the weights keep the scale of what passes through them (standard deviation
1/sqrt(columns)), queries and keys are larger, so that attention chooses, and the attention's output counts as much as
what it is added to: unrelated texts then have cosines around that of independent directions. A tenth of the channels
are up to ten times as wide as the others, as trained transformers have such channels: they are what makes 8-bit
activations hard.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", *(f"[unused{index}]" for index in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "of",
    "and",
    "model",
    "sentence",
    "embedding",
    "beijing",
    "olympic",
    "winter",
    "games",
    "##s",
    "##ing",
]


# A checkpoint of a few megabytes, where the width does not matter.
SHORT: dict[str, int] = {"layers": 2, "hidden": 64, "heads": 4, "intermediate": 128}


def varied(count: int) -> list[str]:
    """Texts of 8 to 200 characters that share some words with each other."""
    choose = random.Random(7)
    words = [
        "".join(chr(0x4E00 + choose.randrange(5000)) for _ in range(choose.randint(1, 4))) for _ in range(400)
    ]
    texts = []
    for _ in range(count):
        wanted = choose.randint(8, 200)
        topic = choose.sample(words, 40)
        text = ""
        while len(text) < wanted:
            text += choose.choice(topic)
        texts.append(text[:wanted])
    return texts


VARIED = varied(40)


def vocabulary() -> list[str]:
    """21,000 tokens: the special ones, letters and digits whole and as continuations, Chinese characters, words."""
    letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xC0, 0x180), *range(0x3001, 0x3030))]
    plain = [letter for letter in letters if not letter.isupper()]
    chinese = [chr(code) for code in range(0x4E00, 0x4E00 + 20_000)]
    full_width = [chr(code) for code in range(0xFF01, 0xFF5F)]
    tokens = (
        SPECIAL
        + plain
        + [f"##{letter}" for letter in plain if letter.isalnum()]
        + chinese
        + full_width
        + WORDS
    )
    return list(dict.fromkeys(tokens))


def make(
    directory: Path,
    *,
    layers: int = 24,
    hidden: int = 1024,
    heads: int = 16,
    intermediate: int = 4096,
    weights: str = "safetensors",
    configuration: dict[str, Any] | None = None,
    tokenizer: dict[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a checkpoint into ``directory`` and return it.

    ``weights``: ``safetensors``, ``bin``, or ``sharded``. ``configuration`` is added to ``model`` of
    ``configuration.json`` (``{"normalize": True}``), ``tokenizer`` to ``tokenizer_config.json``.
    """
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary()
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "vocab_size": len(tokens),
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "pad_token_id": 0,
    }
    described = {
        "framework": "pytorch",
        "task": "sentence-embedding",
        "model": {"type": "bert", **(configuration or {})},
        "pipeline": {"type": "sentence-embedding"},
        "preprocessor": {"type": "sentence-embedding"},
    }
    _write_json(directory / "config.json", config)
    _write_json(directory / "configuration.json", described)
    _write_json(
        directory / "tokenizer_config.json",
        {"do_lower_case": True, "model_max_length": 512, **(tokenizer or {})},
    )
    (directory / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, deviation: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * deviation

    wide = torch.ones(hidden)
    wide[torch.randperm(hidden, generator=generator)[: hidden // 10]] = 3.0
    wide[torch.randperm(hidden, generator=generator)[:3]] = 10.0
    state: dict[str, torch.Tensor] = {}

    def norm(name: str, scale: torch.Tensor) -> None:
        state[f"{name}.weight"] = scale * (1 + normal(hidden, deviation=0.1))
        state[f"{name}.bias"] = normal(hidden, deviation=0.05)

    def linear(name: str, out: int, columns: int, gain: float, *, reads_wide: bool = False) -> None:
        weight = normal(out, columns, deviation=gain / columns**0.5)
        # A channel that is wide is read with smaller weights and written with larger ones: it says as much as the
        # others, in other numbers.
        state[f"{name}.weight"] = weight / wide if reads_wide else weight * wide[:, None]
        state[f"{name}.bias"] = normal(out, deviation=0.02)

    state["embeddings.word_embeddings.weight"] = normal(len(tokens), hidden, deviation=1.0)
    state["embeddings.position_embeddings.weight"] = normal(512, hidden, deviation=0.3)
    state["embeddings.token_type_embeddings.weight"] = normal(2, hidden, deviation=0.1)
    norm("embeddings.LayerNorm", wide)
    for index in range(layers):
        name = f"encoder.layer.{index}"
        for part, gain in (("query", 1.4), ("key", 1.4), ("value", 1.0)):
            linear(f"{name}.attention.self.{part}", hidden, hidden, gain, reads_wide=True)
        linear(f"{name}.attention.output.dense", hidden, hidden, 2.0)
        norm(f"{name}.attention.output.LayerNorm", wide)
        linear(f"{name}.intermediate.dense", intermediate, hidden, 1.0, reads_wide=True)
        linear(f"{name}.output.dense", hidden, intermediate, 1.0)
        norm(f"{name}.output.LayerNorm", wide if index < layers - 1 else torch.ones(hidden))
    state["pooler.dense.weight"] = normal(hidden, hidden, deviation=0.02)
    state["pooler.dense.bias"] = torch.zeros(hidden)

    if weights == "bin":
        torch.save(
            {f"bert.{name}": tensor for name, tensor in state.items()}, directory / "pytorch_model.bin"
        )
    elif weights == "sharded":
        names = list(state)
        halves = {
            "model-00001-of-00002.safetensors": names[::2],
            "model-00002-of-00002.safetensors": names[1::2],
        }
        for file, names_of_half in halves.items():
            save_file({name: state[name] for name in names_of_half}, directory / file, {"format": "pt"})
        weight_map = {name: file for file, part in halves.items() for name in part}
        _write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    else:
        save_file(state, directory / "model.safetensors", {"format": "pt"})
    return directory


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--bin", action="store_true", help="pytorch_model.bin instead of model.safetensors")
    arguments = parser.parse_args()
    make(arguments.directory, layers=arguments.layers, weights="bin" if arguments.bin else "safetensors")


if __name__ == "__main__":
    main()
