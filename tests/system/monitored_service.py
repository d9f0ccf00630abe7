"""The service under the monitoring test, for gunicorn: ``monitored_service:create()``.

``sentiment`` fails, ``similarity`` waits for the file that its text names, ``event`` asks an engine in a process of its
own, which ends where the text is ``exit``. While the file of MONITORED_HOLD exists, the engine does not finish loading.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.app import create_app
from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.engines.uninlu.extractor import UniNlu
from service.tasks.registry import TASKS
from service.tasks.task import TaskInput
from tests.system import faulty_service
from tests.system.pretended_uninlu import LAUNCH


def _load() -> object:
    while Path(os.environ["MONITORED_HOLD"]).exists():
        time.sleep(0.05)
    return UniNlu(LAUNCH, seconds=30.0, wait=30.0)


def _ask_engine(engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    return {"answers": len(engines.extractor().paths(task_input.text, {}))}


def create() -> Any:
    """The application, whose extractor is the only engine."""
    faulty_service.make_tasks_go_wrong()
    for name in ("sentiment", "similarity"):
        TASKS[name] = replace(TASKS[name], kinds=())
    TASKS["event"] = replace(TASKS["event"], extractor_answer=_ask_engine)
    return create_app(engines=EngineRegistry({EngineKind.EXTRACTOR: _load}, load_wait=5.0))
