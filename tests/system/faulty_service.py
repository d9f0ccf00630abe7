"""The service with tasks that go wrong, for gunicorn to load in tests: ``faulty_service:create()``."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.app import create_app
from service.engines.registry import EngineRegistry
from service.tasks.registry import TASKS
from service.tasks.task import TaskInput

_hold = threading.Event()


def _fail(_engines: EngineRegistry, _task_input: TaskInput) -> dict[str, Any]:
    raise RuntimeError("the secret of the engine room")


def _wait_for_file(_engines: EngineRegistry, task_input: TaskInput) -> dict[str, Any]:
    """Busy until the file that the text names exists."""
    while not Path(task_input.text).exists():
        _hold.wait(0.02)
    return {"scores": [time.time()]}


def make_tasks_go_wrong() -> None:
    """``sentiment`` fails, ``similarity`` waits for the file that its text names."""
    TASKS["sentiment"] = replace(TASKS["sentiment"], answer=_fail)
    TASKS["similarity"] = replace(TASKS["similarity"], answer=_wait_for_file)


def create() -> Any:
    """The application with these tasks."""
    make_tasks_go_wrong()
    return create_app()
