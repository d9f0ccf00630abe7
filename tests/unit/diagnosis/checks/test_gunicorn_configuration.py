"""What gunicorn runs with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.collect.services.gunicorn import parse_config
from ops.diagnosis.checks import gunicorn_configuration
from ops.diagnosis.finding import Check, NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.files import ModelFile, SourceFile
from ops.facts.gunicorn import GunicornConfig
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_COMMAND,
    GUNICORN_CONF,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    HEALTHY,
    MODEL_DIR,
    NGINX_PROCESSES,
    NOW,
    but,
    exchange,
    processes,
    without_gunicorn,
)


def configured(text: str, **more: Any) -> Snapshot:
    """gunicorn's configuration file holds this."""
    return but(gunicorn__config=parse_config(GUNICORN_CONF, text.encode()), **more)


def started(*more: str, base: Snapshot | None = None, **changes: Any) -> Snapshot:
    """The master with further words on its command line; its process changed otherwise."""
    facts = {"command": (*GUNICORN_COMMAND[:-1], *more, GUNICORN_COMMAND[-1]), **changes}
    return but(
        base or configured("bind = '127.0.0.1:8000'\n"),
        processes=processes(
            NGINX_PROCESSES,
            tuple(
                msgspec.structs.replace(p, **facts) if p.pid == GUNICORN_MASTER else p
                for p in GUNICORN_PROCESSES
            ),
        ),
    )


RECYCLED = "max_requests = 1000\n"

APP = "/root/build/app.py"


def changed(ago: float, *, path: str = APP, base: Snapshot = HEALTHY) -> Snapshot:
    """A module was written so many seconds ago; every process started an hour ago."""
    return but(base, application__modules=(SourceFile(path=path, modified=NOW - ago),))


def weights(size: int, name: str = "pytorch_model.bin", **more: Any) -> Snapshot:
    """The model's weights are of this size; nothing is preloaded."""
    return but(
        configured("workers = 2\n"), model__files=(ModelFile(path=f"{MODEL_DIR}/{name}", size=size),), **more
    )


PRELOADED = parse_config("x", b"preload_app = True")
EMBEDDED = exchange(200, '{"service": "gte", "engine": "embedded"}', **AT_BACKEND)

CASES: list[Case] = [
    fires(
        "GUN010",
        "each worker loads the weights for itself",
        weights(6 << 30),
        "6.0 GiB",
        severity="warn",
        facts={"workers": "2", "needed": "12.0 GiB", "available": "10.0 GiB"},
    ),
    fires(
        "GUN010",
        "one worker has loaded its model, the other has yet to",
        but(footprint__private={901: 4 << 30, 902: 1 << 20}, footprint__available=2 << 30),
    ),
    quiet("GUN010", "they fit", weights(4 << 30)),
    quiet("GUN010", "mapped weights are shared", weights(6 << 30, "model.safetensors")),
    quiet(
        "GUN010",
        "the master loads them for all",
        weights(6 << 30, gunicorn__config=parse_config("x", b"preload_app = True")),
    ),
    quiet("GUN010", "another model is served", weights(6 << 30, backend__health=EMBEDDED)),
    fires(
        "GUN011", "a module changed after the start", changed(60, base=configured("")), APP, severity="warn"
    ),
    fires(
        "GUN011",
        "the configuration changed after the start",
        but(application__config=SourceFile(path=GUNICORN_CONF, modified=NOW - 60)),
        facts={"changed": GUNICORN_CONF},
    ),
    fires(
        "GUN011",
        "the master loaded the code, its workers are younger",
        changed(3000, base=started("--preload")),
    ),
    quiet("GUN011", "the clock was set back after it was written", changed(-8 * 3600, base=configured(""))),
    quiet("GUN011", "it changed before", changed(7200)),
    quiet("GUN011", "it was written as they started", changed(3599)),
    quiet("GUN011", "nothing runs", changed(60, base=without_gunicorn())),
    fires("GUN009", "on the command line", started("--reload"), "--reload", f"pid {GUNICORN_MASTER}"),
    fires(
        "GUN009",
        "in GUNICORN_CMD_ARGS",
        started(environment={"GUNICORN_CMD_ARGS": "--workers 2 --reload"}),
        "GUNICORN_CMD_ARGS",
    ),
    fires("GUN009", "in the file", configured("reload = True\n"), f"{GUNICORN_CONF}:1", severity="warn"),
    quiet("GUN009", "switched off in the file", configured("reload = False\n")),
    quiet("GUN009", "its engine alone does nothing", started("--reload-engine", "poll")),
    quiet(
        "GUN009", "nothing runs", but(without_gunicorn(), gunicorn__config=parse_config("x", b"reload=True"))
    ),
    fires("GUN013", "it stands nowhere", configured("workers = 2\n"), "not set", severity="warn"),
    fires("GUN013", "0 means never", configured("max_requests = 0\n"), f"{GUNICORN_CONF}:1", "= 0"),
    fires(
        "GUN013",
        "there is no file, and the command line says nothing",
        but(gunicorn__config=GunicornConfig(path=GUNICORN_CONF, missing=True)),
        "no such file",
    ),
    fires(
        "GUN013",
        "the command line takes back what the file says",
        started("--max-requests", "0", base=configured(RECYCLED)),
    ),
    quiet("GUN013", "in the file", configured(RECYCLED)),
    quiet("GUN013", "on the command line", started("--max-requests=500")),
    quiet("GUN013", "in GUNICORN_CMD_ARGS", started(environment={"GUNICORN_CMD_ARGS": "--max-requests 9"})),
    quiet("GUN013", "computed where it runs", configured("max_requests = limit()\n")),
    quiet("GUN013", "the file takes over another's names", configured("from service.conf import *\n")),
    quiet("GUN013", "nothing runs", but(without_gunicorn(), gunicorn__config=parse_config("x", b""))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize("check", [gunicorn_configuration.reload, gunicorn_configuration.recycling])
@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (configured("from service.conf import *\n"), "service.conf"),
        (configured("x = ("), "line 1"),
        (started(command=("gunicorn: master [app:app]",)), "title"),
        (started(environment=None), "GUNICORN_CMD_ARGS"),
        (started("-c", "python:service.conf"), "module"),
        (but(gunicorn__config=NotSeen(reason="may not be read", needs_root=True)), "may not be read"),
        (without_gunicorn(), "does not run"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_not_read_is_said_and_not_guessed(check: Check, snapshot: Snapshot, reason: str) -> None:
    with pytest.raises(NotJudgedError) as raised:
        list(check.judge(**check.inputs(snapshot)))
    assert reason in raised.value.unseen.reason
