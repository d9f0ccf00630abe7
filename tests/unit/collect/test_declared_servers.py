"""Servers other than gunicorn that systemd is to run for the service."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.collect.services import declared_servers as module
from ops.collect.services.declared_servers import declared_servers
from ops.facts.start import DeclaredServer
from ops.settings import ScheduleSettings, Settings
from tests.unit.made_snapshot import TARGET

SHOP = "/srv/shop"
UVICORN = f"{SHOP}/venv/bin/uvicorn app:app"


def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> tuple[DeclaredServer, ...]:
    """What is declared where systemd has these units (by name: ExecStart, and the directory after a bar)."""
    monkeypatch.setattr(module, "SUPERVISORD_PLACES", ())
    for name, text in texts.items():
        command, _, directory = text.partition("|")
        place = f"WorkingDirectory={directory}\n" if directory else ""
        (tmp_path / f"{name}.service").write_text(f"[Service]\nExecStart={command}\n{place}")
    settings = Settings(schedule=ScheduleSettings(systemd=(str(tmp_path),)))
    return declared_servers(msgspec.structs.replace(TARGET, app_dir=SHOP, backend="127.0.0.1:8000"), settings)


@pytest.mark.parametrize(
    ("command", "server", "has_address"),
    [
        (f"{UVICORN} --port 8000", "uvicorn", True),
        (f"{SHOP}/venv/bin/python -m uvicorn app:app --port=8000", "uvicorn", True),
        ("/usr/bin/hypercorn --bind 127.0.0.1:8000 app:app", "hypercorn", True),
        (f"{UVICORN}|{SHOP}", "uvicorn", False),
        (f"/usr/bin/uwsgi --ini shop.ini|{SHOP}/", "uwsgi", False),
    ],
)
def test_a_unit_at_the_address_or_in_the_directory_is_the_service_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, server: str, has_address: bool
) -> None:
    (unit,) = units(tmp_path, monkeypatch, shop=command)
    assert (unit.server, unit.manager, unit.name) == (server, "systemd", "shop.service")
    assert unit.has_address is has_address


@pytest.mark.parametrize(
    "command",
    [
        f"{UVICORN} --port 80001",
        f"{UVICORN} --port 9000|/srv/other",
        "/usr/bin/redis-server --port 8000",
        "/usr/bin/grep uvicorn 8000",
    ],
)
def test_other_programs_and_other_services_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert units(tmp_path, monkeypatch, other=command) == ()


def test_where_gunicorn_is_declared_the_service_is_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"old": f"{UVICORN} --port 8000", "new": f"/usr/bin/gunicorn -b 127.0.0.1:8000 app:app|{SHOP}"}
    assert units(tmp_path, monkeypatch, **both) == ()


def test_the_unit_with_the_address_goes_first_and_secrets_stay_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = units(
        tmp_path,
        monkeypatch,
        a=f"{UVICORN}|{SHOP}",
        b=f"{UVICORN} --port 8000 --api-key sesame-open-9431",
    )
    assert (first.name, second.name) == ("b.service", "a.service")
    assert "sesame-open-9431" not in " ".join(first.command)
