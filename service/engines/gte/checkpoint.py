"""The model's directory: whether it is complete, and its configuration. Does not import torch."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from service.engines.download.client import Source, archive_beside
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason

_log = logging.getLogger("service")

MODEL = "iic/nlp_gte_sentence-embedding_chinese-large"

SOURCE = Source(EngineKind.ENCODER, "GTE_MODEL_DIR", MODEL)

Pooling = Literal["cls", "avg"]

# The details go to clients, so they name the variable and not the path; the log has the path.
_DOWNLOAD = (
    f"download {MODEL} into it ({SOURCE.command()}), or set GTE_MODEL_DOWNLOAD=1,"
    " or unset GTE_MODEL_DIR to use the embedded default"
)
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class Configuration:
    """A BERT encoder: its shape from ``config.json``, pooling and normalisation from ModelScope's
    ``configuration.json`` (``model.emb_pooler_type``, default ``cls``; ``model.normalize``, default false:
    modelscope/models/nlp/bert/sentence_embedding.py)."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    kinds: int  # token types
    positions: int  # the longest text in tokens, special tokens included
    epsilon: float  # of the layer normalisations
    pooling: Pooling
    normalize: bool


def require_model(directory: Path) -> None:
    """Check that ``directory`` holds a model.

    Raises:
        EngineUnavailableError: ``model_missing``; the detail says what to do. The same three cases as the doctor's
            MOD001 (missing), MOD002 (one directory too deep) and MOD003 (still an archive).
    """
    if not directory.is_dir() or not any(directory.iterdir()):
        archive = archive_beside(directory)
        if archive is not None:
            _log.error("GTE_MODEL_DIR=%s is still an archive: %s", directory, archive)
            raise _missing(
                f"the model is still an archive: unpack {archive.name} so that config.json lies in GTE_MODEL_DIR"
            )
        problem = "is empty" if directory.is_dir() else "is not a directory"
        _log.error("GTE_MODEL_DIR=%s %s", directory, problem)
        raise _missing(f"GTE_MODEL_DIR {problem}: {_DOWNLOAD}")
    if not (directory / "config.json").is_file():
        _log.error("GTE_MODEL_DIR=%s has no config.json", directory)
        nested = next((path.parent.name for path in sorted(directory.glob("*/config.json"))), None)
        # ModelScope archives often unpack into one more directory of the same name.
        remedy = f"the model lies one directory deeper, in {nested}: point it there" if nested else _DOWNLOAD
        raise _missing(f"GTE_MODEL_DIR has no config.json: {remedy}")
    for names in (_WEIGHTS, ("vocab.txt", "tokenizer.json")):
        if not any((directory / name).is_file() for name in names):
            _log.error("GTE_MODEL_DIR=%s has none of %s", directory, ", ".join(names))
            raise _missing(f"GTE_MODEL_DIR has neither {' nor '.join(names[:3:2])}: {_DOWNLOAD}")


def read_configuration(directory: Path) -> Configuration:
    """The model's configuration from the directory's two files.

    Raises:
        EngineUnavailableError: ``load_failed``: a file is malformed, or this engine does not compute such a model.
    """
    config = _json_object(directory / "config.json")
    for name, computed in (
        ("model_type", "bert"),
        ("hidden_act", "gelu"),
        ("position_embedding_type", "absolute"),
    ):
        if config.get(name, computed) != computed:
            raise _failed(
                f"config.json: {name} is {str(config[name])[:40]!r}, this engine computes {computed}"
            )
    model = _modelscope_model(directory / "configuration.json")
    pooling = model.get("emb_pooler_type", "cls")
    if pooling not in ("cls", "avg"):
        raise _failed(f"configuration.json: model.emb_pooler_type is {str(pooling)[:40]!r}, not cls or avg")
    try:
        configuration = Configuration(
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            kinds=int(config.get("type_vocab_size", 2)),
            positions=int(config.get("max_position_embeddings", 512)),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            pooling=cast(Pooling, pooling),
            normalize=bool(model.get("normalize", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _failed(f"config.json does not describe a BERT encoder: {error}") from None
    _require_consistent(configuration)
    return configuration


def _require_consistent(configuration: Configuration) -> None:
    sizes = (configuration.hidden, configuration.layers, configuration.heads, configuration.positions)
    if min(sizes) < 1 or configuration.hidden % configuration.heads:
        raise _failed("config.json does not describe a BERT encoder: its sizes do not fit together")


def _modelscope_model(path: Path) -> dict[str, Any]:
    """The member ``model`` of ModelScope's file; empty if there is none."""
    model = _json_object(path).get("model") if path.is_file() else {}
    return model if isinstance(model, dict) else {}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        _log.error("%s: %s", path, error)
        raise _failed(f"{path.name} cannot be read ({type(error).__name__}): see the error log") from None
    if not isinstance(value, dict):
        raise _failed(f"{path.name} is not a JSON object")
    return value


def _missing(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.ENCODER, UnavailableReason.MODEL_MISSING, detail)


def _failed(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.ENCODER, UnavailableReason.LOAD_FAILED, detail)
