"""A UniNLU checkpoint of the true format with made-up weights, as ModelScope delivers it, and small.

    python -m tests.made_uninlu DIRECTORY [base]

Eight layers, of which the last six read text and prompt together (``base``: the true model's shape, 12 layers of 768);
the pointers are wide enough to fall on some tokens and not on others. What it extracts means nothing, but is the same
each time.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

SMALL = {"hidden_size": 32, "num_hidden_layers": 8, "num_attention_heads": 2, "intermediate_size": 64}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make(
    directory: Path, *, shape: Mapping[str, int] = SMALL, pointer_scale: float = 3.0, seed: int = 0
) -> Path:
    """Write a checkpoint into ``directory`` and return it. ``pointer_scale``: how far apart the logits lie; at 0 no
    pointer falls on anything."""
    import torch
    from modelscope.models.nlp.bert.siamese_uie import SiameseUieModel
    from transformers import BertConfig

    directory.mkdir(parents=True, exist_ok=True)
    ascii_letters = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isupper()]
    continued = [f"##{letter}" for letter in ascii_letters if letter.isalnum()]
    chinese = [
        chr(code) for code in (*range(0x3001, 0x3020), *range(0x4E00, 0x9FA6), 0xFF0C, 0xFF1F, 0xFF01, 0xFF1A)
    ]
    tokens = SPECIAL + ascii_letters + continued + chinese
    config = {
        "model_type": "bert",
        **shape,
        "max_position_embeddings": 512,
        "vocab_size": len(tokens),
    }
    torch.manual_seed(seed)
    # Weights small enough that a token is still itself after eight layers, and large enough that its neighbours count.
    model = SiameseUieModel(BertConfig(**config, initializer_range=0.05))
    for head in (model.head_clsf, model.tail_clsf):
        torch.nn.init.normal_(head.weight, std=pointer_scale / shape["hidden_size"] ** 0.5)
        torch.nn.init.constant_(head.bias, -pointer_scale / 2)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    described = {
        "framework": "pytorch",
        "task": "siamese-uie",
        "model": {"type": "bert"},
        "preprocessor": {"type": "siamese-uie-preprocessor"},
        "pipeline": {"type": "siamese-uie"},
    }
    for name, value in (
        ("config.json", config),
        ("configuration.json", described),
        ("tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}),
    ):
        (directory / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    (directory / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return directory


if __name__ == "__main__":
    make(Path(sys.argv[1]), shape=BASE if sys.argv[2:] == ["base"] else SMALL)
