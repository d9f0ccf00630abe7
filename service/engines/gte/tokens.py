"""Tokenize texts as the checkpoint's own BertTokenizerFast does, without transformers or torch.

``tokenizers`` is the library underneath; it is written in Rust and releases the interpreter lock. Equality with
``AutoTokenizer`` on the same directory is a test (tests/system/test_gte_vectors.py).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

# Requests already run in parallel; a pool of threads inside each would only compete with the engine.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Tokens = numpy.ndarray[Any, numpy.dtype[numpy.int32]]


class Tokenizer:
    """The tokenizer of a directory: its ``tokenizer.json``, else its ``vocab.txt`` and ``tokenizer_config.json``.

    Thread-safe.
    """

    def __init__(self, directory: Path, window: int) -> None:
        """``window``: the most tokens of a text, ``[CLS]`` and ``[SEP]`` included.

        Raises:
            ImportError: ``tokenizers`` is not installed.
        """
        from tokenizers import Tokenizer as Fast

        tokenizer_file = directory / "tokenizer.json"
        self.window = window
        self._fast = (
            Fast.from_file(str(tokenizer_file)) if tokenizer_file.is_file() else _of_vocabulary(directory)
        )
        self._fast.no_padding()
        self._fast.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, with ``[CLS]`` and ``[SEP]``, truncated to the window as ModelScope's pipeline
        does: the text loses its end, ``[SEP]`` stays."""
        sequences = []
        for encoding in self._fast.encode_batch([_encodable(text) for text in texts]):
            ids = encoding.ids
            if len(ids) > self.window:
                ids = [*ids[: self.window - 1], ids[-1]]
            sequences.append(numpy.asarray(ids, dtype=numpy.int32))
        return sequences

    def count(self, text: str) -> int:
        """Tokens of the whole text, also beyond the window."""
        return len(self._fast.encode(_encodable(text)).ids)


def _encodable(text: str) -> str:
    # A lone surrogate is not valid Unicode text, and Rust refuses it.
    return text.encode("utf-8", "replace").decode("utf-8")


def _of_vocabulary(directory: Path) -> Any:
    """The tokenizer that transformers' BertConverter makes from a vocabulary and a tokenizer_config.json."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    config_file = directory / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(config_file.read_bytes()) if config_file.is_file() else {}

    def special(name: str, default: str) -> str:
        value = config.get(name, default)
        return str(value["content"] if isinstance(value, dict) else value)

    unknown, cls, sep = (
        special("unk_token", "[UNK]"),
        special("cls_token", "[CLS]"),
        special("sep_token", "[SEP]"),
    )
    # Split at line feeds, as transformers does; splitlines() also splits at U+0085, a token of some vocabularies.
    lines = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")
    if lines[-1] == "":
        lines.pop()
    vocabulary = {token: index for index, token in enumerate(lines)}
    fast = Fast(models.WordPiece(vocabulary, unk_token=unknown))
    fast.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0", special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])]
    )
    fast.decoder = decoders.WordPiece()
    specials = (unknown, sep, special("pad_token", "[PAD]"), cls, special("mask_token", "[MASK]"))
    fast.add_special_tokens([token for token in specials if token in vocabulary])
    return fast
