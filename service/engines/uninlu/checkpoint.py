"""The model's directory: whether it is complete, and whether it brings code of its own."""

import json
import logging
from pathlib import Path
from typing import Any

from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason

_log = logging.getLogger("service")

MODEL = "iic/nlp_structbert_siamese-uninlu_chinese-base"
PIPELINE = "siamese-uie"

# The details go to clients, so they name the variable and not the path; the log has the path.
_DOWNLOAD = (
    f'download {MODEL} into it (modelscope download --model {MODEL} --local_dir "$GTE_UNINLU_DIR"),'
    " or unset GTE_UNINLU_DIR to use the embedded default"
)
_NEEDED = (("config.json",), ("pytorch_model.bin", "model.safetensors"), ("vocab.txt", "tokenizer.json"))


def require_model(directory: Path, *, trusts_code: bool) -> str:
    """Check that ``directory`` holds a model that may be loaded, and return ModelScope's name of its task.

    Raises:
        EngineUnavailableError: a file is missing, or the model brings code (``allow_remote`` or ``plugins`` in
            configuration.json, as ``iic/nlp_deberta_rex-uninlu_chinese-base`` does) and is not trusted to run it.
    """
    if not directory.is_dir():
        _log.error("GTE_UNINLU_DIR=%s is not a directory", directory)
        raise _missing(f"GTE_UNINLU_DIR is not a directory: {_DOWNLOAD}")
    configuration = _configuration(directory)
    pipeline = configuration.get("pipeline")
    name = str(pipeline.get("type", PIPELINE)) if isinstance(pipeline, dict) else PIPELINE
    if configuration.get("allow_remote") or configuration.get("plugins") or name != PIPELINE:
        if not trusts_code:
            _log.error("GTE_UNINLU_DIR=%s: its pipeline %s brings code of its own", directory, name)
            raise _failed(
                "the model in GTE_UNINLU_DIR brings code of its own, which would run as this service:"
                f" set GTE_TRUST_REMOTE_CODE=1 if you trust it, or use {MODEL}, which needs none"
            )
        return str(configuration.get("task", PIPELINE))
    for names in _NEEDED:
        if not any((directory / one).is_file() for one in names):
            _log.error("GTE_UNINLU_DIR=%s has no %s", directory, " nor ".join(names))
            raise _missing(f"GTE_UNINLU_DIR has no {names[0]}: {_DOWNLOAD}")
    return PIPELINE


def _configuration(directory: Path) -> dict[str, Any]:
    path = directory / "configuration.json"
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        nested = next((one.parent.name for one in sorted(directory.glob("*/configuration.json"))), None)
        # ModelScope archives often unpack into one more directory of the same name.
        remedy = f"the model lies one directory deeper, in {nested}: point it there" if nested else _DOWNLOAD
        _log.error("GTE_UNINLU_DIR=%s has no configuration.json", directory)
        raise _missing(f"GTE_UNINLU_DIR has no configuration.json: {remedy}") from None
    except (OSError, ValueError) as error:
        _log.error("%s: %s", path, error)
        raise _failed("configuration.json in GTE_UNINLU_DIR cannot be read: see the error log") from None
    if not isinstance(value, dict):
        raise _failed("configuration.json in GTE_UNINLU_DIR is not a JSON object")
    return value


def _missing(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.EXTRACTOR, UnavailableReason.MODEL_MISSING, detail)


def _failed(detail: str) -> EngineUnavailableError:
    return EngineUnavailableError(EngineKind.EXTRACTOR, UnavailableReason.LOAD_FAILED, detail)
