"""The Python environment the service runs in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import env
from ops.diagnosis.finding import NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.gunicorn import ConfigValue, Gunicorn, GunicornConfig
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    HEALTHY,
    but,
    entry,
    exchange,
    gunicorn_log,
    without_gunicorn,
)

PYTHON = "/root/build/venv/bin/python"
BASE = {"flask": "3.1.3", "gunicorn": "27.0.1"}
GTE = exchange(200, '{"status": "ok", "service": "gte", "engine": "gte"}', **AT_BACKEND)
NO_TORCH = entry(
    "Exception in worker process\nTraceback (most recent call last):\n"
    '  File "/root/build/app.py", line 3, in <module>\n    import torch\n'
    "ModuleNotFoundError: No module named 'torch'"
)

NO_FLASK = entry(
    "Exception in worker process\nTraceback (most recent call last):\n"
    '  File "/root/build/app.py", line 1, in <module>\n    import flask\n'
    "ModuleNotFoundError: No module named 'flask'"
)


def with_worker_class(base: Snapshot, name: str) -> Snapshot:
    """``base``, whose gunicorn.conf.py sets ``worker_class``."""
    assert isinstance(base.gunicorn, Gunicorn)
    assert isinstance(base.gunicorn.config, GunicornConfig)
    assigned = base.gunicorn.config.assigned | {"worker_class": ConfigValue(line=9, known=True, value=name)}
    return but(base, gunicorn__config=msgspec.structs.replace(base.gunicorn.config, assigned=assigned))


def environment(base: Snapshot = HEALTHY, **changes: Any) -> Snapshot:
    return but(base, **{f"environment__{name}": value for name, value in changes.items()})


def torch(version: str, **changes: Any) -> Snapshot:
    return environment(packages={**BASE, "torch": version}, **changes)


CASES: list[Case] = [
    fires(
        "ENV001",
        "a listed package is not there",
        environment(required=("flask", "Sentence_Transformers"), packages=BASE),
        "no Sentence_Transformers",
        severity="fail",
        facts={"packages": "Sentence_Transformers"},
    ),
    fires(
        "ENV001",
        "without a list, Flask that the last start did not find",
        but(
            environment(without_gunicorn(), packages={"gunicorn": "27"}),
            logs__gunicorn_error=gunicorn_log(NO_FLASK),
        ),
        "No module named 'flask'",
        facts={"packages": "flask"},
    ),
    fires(
        "ENV001",
        "without a list, what the worker class comes from",
        environment(with_worker_class(without_gunicorn(), "uvicorn.workers.UvicornWorker"), packages=BASE),
        facts={"packages": "uvicorn"},
    ),
    quiet(
        "ENV001",
        "the worker class is gunicorn's own",
        environment(with_worker_class(without_gunicorn(), "asgi"), packages=BASE),
    ),
    quiet(
        "ENV001",
        "an application that answers has its worker's package, wherever it is",
        environment(with_worker_class(HEALTHY, "gevent"), packages=BASE),
    ),
    quiet(
        "ENV001",
        "without a list, an application of another framework needs no Flask",
        environment(packages={"gunicorn": "27"}),
    ),
    quiet(
        "ENV001",
        "without a list, and stopped, nothing says that it is Flask",
        environment(without_gunicorn(), packages={"gunicorn": "27"}),
    ),
    fires(
        "ENV001",
        "the model is served, and nothing of what it takes is there",
        but(
            environment(packages=BASE),
            backend__health=GTE,
            backend__ready=exchange(503, "{}", **AT_BACKEND),
            backend__predict=exchange(503, "{}", **AT_BACKEND),
        ),
        "engine: gte",
        severity="fail",
        facts={"packages": "torch, transformers, modelscope"},
    ),
    fires(
        "ENV001",
        "the model is served all the same",
        but(environment(packages=BASE), backend__health=GTE),
        severity="warn",
    ),
    fires(
        "ENV001",
        "the service did not boot for want of it",
        environment(
            but(without_gunicorn(), logs__gunicorn_error=gunicorn_log(NO_TORCH)),
            packages={**BASE, "transformers": "4", "modelscope": "1.40.2"},
        ),
        "No module named 'torch'",
        facts={"packages": "torch"},
    ),
    quiet("ENV001", "all is there", HEALTHY),
    quiet("ENV001", "another engine serves: the model's packages are not needed", environment(packages=BASE)),
    quiet(
        "ENV001",
        "the list says what is needed, and no more",
        but(environment(packages=BASE, required=("flask",)), backend__health=GTE),
    ),
    quiet(
        "ENV001", "a package of the application's that nobody listed", environment(required=(), packages=BASE)
    ),
    quiet(
        "ENV001",
        "gunicorn is down, and the interpreter is a guess that has no gunicorn either",
        environment(without_gunicorn(), packages={}),
    ),
    quiet(
        "ENV001",
        "gunicorn runs, so this is not its environment",
        environment(packages={"flask": "3"}),
    ),
    fires(
        "ENV001",
        "gunicorn runs from elsewhere, but this environment is the one configured",
        but(environment(packages={"flask": "3"}), target__origin={"python": "gte-ops.toml"}),
        facts={"packages": "gunicorn"},
    ),
    fires(
        "ENV002",
        "older than the floor",
        environment(packages={**BASE, "modelscope": "1.9.5"}),
        "1.9.5",
        severity="warn",
        facts={"package": "modelscope", "installed": "1.9.5", "needed": "1.12.0"},
    ),
    fires("ENV002", "a release candidate comes before", environment(packages={"modelscope": "1.12.0rc1"})),
    quiet("ENV002", "the floor itself", environment(packages={"modelscope": "1.12.0"})),
    quiet("ENV002", "not installed", environment(packages=BASE)),
    quiet("ENV002", "a version that is none", environment(packages={"modelscope": "unknown"})),
    fires("ENV003", "a CUDA build by its tag", torch("2.9.1+cu128"), "2.9.1+cu128", severity="warn"),
    fires(
        "ENV003",
        "PyPI's build, with the libraries it brings",
        torch("2.9.1", nvidia_packages=("nvidia-cublas-cu12", "nvidia-cuda-runtime-cu12")),
        "nvidia-cublas-cu12",
    ),
    quiet("ENV003", "there is a GPU", torch("2.9.1+cu128", nvidia_devices=("/dev/nvidia0",))),
    quiet(
        "ENV003",
        "a card without its driver",
        torch("2.9.1+cu128", nvidia_devices=("/sys/bus/pci/devices/x",)),
    ),
    quiet("ENV003", "a build for the CPU", torch("2.9.1+cpu")),
    quiet(
        "ENV003",
        "a build for the CPU beside libraries left over",
        torch("2.9.1+cpu", nvidia_packages=("nvidia-cublas-cu12",)),
    ),
    quiet("ENV003", "no tag and no libraries: a build of one's own", torch("2.9.1")),
    quiet("ENV003", "no torch", environment(packages=BASE)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_an_environment_that_cannot_be_gunicorns_is_not_judged() -> None:
    snapshot = environment(packages={"flask": "3"})
    with pytest.raises(NotJudgedError, match=r"app\.python"):
        list(env.packages.judge(**env.packages.inputs(snapshot)))
    assert BACKEND
    assert isinstance(but(environment=NotSeen(reason="-")).environment, NotSeen)
