"""A service that another server than gunicorn runs: it is down, or it is elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.host import Listener, Process
from ops.facts.snapshot import Snapshot
from ops.facts.start import DeclaredServer, LastStart, ServiceManager
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    TARGET,
    but,
    exchange,
    process,
    processes,
    without_gunicorn,
)

UVICORN = DeclaredServer(
    server="uvicorn",
    manager=ServiceManager.SYSTEMD,
    name="shop.service",
    file="/etc/systemd/system/shop.service",
    command=("/srv/shop/venv/bin/uvicorn", "app:app", "--port", "8000"),
    has_address=True,
)
HYPERCORN = msgspec.structs.replace(
    UVICORN,
    server="hypercorn",
    manager=ServiceManager.SUPERVISORD,
    name="shop",
    file="/etc/supervisor/conf.d/shop.conf",
)
ELSEWHERE = process(
    4300, 1, "/srv/shop/venv/bin/python", "/srv/shop/venv/bin/uvicorn", "app:app", cwd=TARGET.app_dir
)


def declared(
    *servers: DeclaredServer, beside: tuple[Process, ...] = (), at: str = "", **changes: Any
) -> Snapshot:
    """Nobody accepts connections for nginx; these servers are declared for the service."""
    listeners = (*NGINX_LISTENERS, *((Listener(address=at, pids=(4300,)),) if at else ()))
    return but(
        without_gunicorn(),
        last_start=LastStart(servers=servers),
        processes=processes(NGINX_PROCESSES, beside, listeners=listeners),
        **changes,
    )


def steps(snapshot: Snapshot) -> str:
    return "\n".join(s if isinstance(s, str) else s.en for s in found(snapshot)["GUN020"].fix or ())


CASES: list[Case] = [
    fires(
        "GUN020",
        "uvicorn's unit does not run",
        declared(UVICORN),
        "no uvicorn",
        "/etc/systemd/system/shop.service /srv/shop/venv/bin/uvicorn app:app",
        severity="fail",
        facts={"server": "uvicorn", "name": "shop.service"},
    ),
    quiet("GUN001", "uvicorn's unit does not run", declared(UVICORN)),
    fires("GUN020", "hypercorn under supervisord does not run", declared(HYPERCORN), "no hypercorn"),
    fires(
        "GUN020",
        "it runs, and listens elsewhere",
        declared(UVICORN, beside=(ELSEWHERE,), at="127.0.0.1:8001"),
        "127.0.0.1:8001: /srv/shop/venv/bin/python",
    ),
    fires(
        "GUN020",
        "another directory's uvicorn is none of the service's",
        declared(
            UVICORN, beside=(msgspec.structs.replace(ELSEWHERE, cwd="/srv/other"),), at="127.0.0.1:8001"
        ),
        "no uvicorn",
    ),
    quiet("GUN020", "nothing is declared: gunicorn is down", declared()),
    fires("GUN001", "nothing is declared: gunicorn is down", declared()),
    quiet(
        "GUN020",
        "the service answers",
        but(declared(UVICORN), backend__connection__failure=None, backend__health=exchange(200, "{}")),
    ),
    quiet("GUN020", "a gunicorn runs", but(last_start=LastStart(servers=(UVICORN,)))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_fix_is_the_supervisor_s() -> None:
    assert "systemctl start shop.service" in steps(declared(UVICORN))
    assert "supervisorctl start shop" in steps(declared(HYPERCORN))
    assert "127.0.0.1:8001" in steps(declared(UVICORN, beside=(ELSEWHERE,), at="127.0.0.1:8001"))
