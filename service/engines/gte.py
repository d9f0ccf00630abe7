"""GTE-large from a directory: its files are checked here; the engine that runs it is not part of this
version."""

import logging
from pathlib import Path
from typing import NoReturn

from service.engines.interface import EngineUnavailableError

_log = logging.getLogger("service")

MODEL = "iic/nlp_gte_sentence-embedding_chinese-large"


def require_model(directory: Path) -> None:
    """Check that ``directory`` holds a model.

    Raises:
        EngineUnavailableError: the directory or its config.json is missing; the detail says what to do.
    """
    # The detail goes to clients, so it names the variable and not the path; the log has the path.
    download = (
        f'download {MODEL} into it (modelscope download --model {MODEL} --local_dir "$GTE_MODEL_DIR"),'
        " or unset GTE_MODEL_DIR to use the embedded default"
    )
    if not directory.is_dir():
        _log.error("GTE_MODEL_DIR=%s is not a directory", directory)
        raise EngineUnavailableError(
            "encoder", "model_missing", f"GTE_MODEL_DIR is not a directory: {download}"
        )
    if not (directory / "config.json").is_file():
        _log.error("GTE_MODEL_DIR=%s has no config.json", directory)
        nested = next((path.parent.name for path in sorted(directory.glob("*/config.json"))), None)
        # ModelScope archives often unpack into one more directory of the same name.
        remedy = f"the model lies one directory deeper, in {nested}: point it there" if nested else download
        raise EngineUnavailableError(
            "encoder", "model_missing", f"GTE_MODEL_DIR has no config.json: {remedy}"
        )


def load(directory: Path) -> NoReturn:
    """Load the model in ``directory``.

    Raises:
        EngineUnavailableError: always, as long as this version has no engine for it.
    """
    require_model(directory)
    raise EngineUnavailableError(
        "encoder",
        "load_failed",
        "GTE_MODEL_DIR holds a model, but this version of the service has no engine for it yet:"
        " unset GTE_MODEL_DIR to use the embedded default",
    )
