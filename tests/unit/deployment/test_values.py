"""A host's own values for the rendered files: what runs there, and as whom the unit runs it from now on."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.run import Surroundings
from ops.deployment import values
from ops.deployment.render import Deployment
from ops.facts.host import Processes
from ops.settings import AppSettings, GunicornSettings, Settings
from tests.unit.made_snapshot import GUNICORN_MASTER, HEALTHY

ACCOUNT = ("gte-api", "gte-api")
OWN = {
    "pidfile": "/run/gte-api/gunicorn.pid",
    "access_log": "/var/log/gte-api/access.log",
    "error_log": "/var/log/gte-api/error.log",
}


@pytest.fixture(autouse=True)
def closed_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may enter every directory but /root."""
    monkeypatch.setattr(values, "_everybody_reaches", lambda path: not path.is_relative_to("/root"))


def around(version: str = "1.22.1", **master: Any) -> Surroundings:
    """The guide's host, with other facts of gunicorn's master, or another nginx."""
    assert isinstance(HEALTHY.processes, Processes)
    processes = tuple(
        msgspec.structs.replace(each, **master) if each.pid == GUNICORN_MASTER else each
        for each in HEALTHY.processes.processes
    )
    return Surroundings(
        host=HEALTHY.host,
        processes=msgspec.structs.replace(HEALTHY.processes, processes=processes),
        config=HEALTHY.nginx_config,
        build={"version": version} if version else {},
        gunicorn=HEALTHY.gunicorn,
        target=HEALTHY.target,
    )


def built(settings: Settings, seen: Surroundings | None) -> Deployment:
    return values._Builder(settings, None, seen, ()).deployment()


def moved(directory: str = "/opt/app", **changes: str) -> Settings:
    """The configuration of a service that is about to leave /root."""
    return Settings(
        app=AppSettings(dir=directory, python=f"{directory}/venv/bin/python"),
        gunicorn=GunicornSettings(**(OWN | changes)),
    )


def test_a_service_of_roots_that_the_account_could_run_gets_the_account() -> None:
    assert built(moved(), around(user="root")).gunicorn_owner == ACCOUNT


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        moved("/root/build"),
        moved(pidfile="/var/run/gte-gunicorn.pid"),
        moved(access_log="/var/log/access.log"),
        moved(error_log="/var/log/gte-api-error.log"),
    ],
    ids=["as the guide has it", "programs", "pidfile", "access log", "error log"],
)
def test_one_that_it_could_not_run_stays_roots(settings: Settings) -> None:
    """The unit would not start otherwise; that it is root's is said when it is installed."""
    assert built(settings, around(user="root")).gunicorn_owner == ("root", "root")


def test_a_service_with_a_user_of_its_own_keeps_it() -> None:
    user = pwd.getpwnam("nobody")
    assert built(moved(), around(user=user.pw_name)).gunicorn_owner[0] == user.pw_name


def test_without_a_service_there_is_the_account() -> None:
    assert built(Settings(), None).gunicorn_owner == ACCOUNT


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("venv/bin/gunicorn", "/srv/app/venv/bin"),
        ("../lib/venv/bin/gunicorn", "/srv/lib/venv/bin"),
        ("/opt/app/bin/gunicorn", "/opt/app/bin"),
    ],
)
def test_the_unit_starts_the_program_that_runs(script: str, found: str) -> None:
    seen = around(command=("/usr/bin/python3", script, "app:app"), cwd="/srv/app")
    assert built(Settings(), seen).programs == found


def test_the_watchdogs_unit_may_remove_a_stale_pidfile() -> None:
    assert "/var/run" in built(Settings(), around()).watchdog_writes
    assert built(moved(), around()).watchdog_writes == ()


def test_units_are_told_where_backups_and_certbots_tree_lie() -> None:
    found = built(Settings(), around())
    assert (found.backup_dir, found.letsencrypt_dir) == ("/var/backups/gte-ops", "/etc/letsencrypt")


@pytest.mark.parametrize(
    ("version", "rejects"),
    [
        ("1.18.0", False),
        ("1.19.3", False),
        ("1.19.4", True),
        ("1.31.3", True),
        ("1.21.4.1", True),
        ("", False),
    ],
)
def test_handshakes_are_rejected_by_an_nginx_that_knows_how(version: str, rejects: bool) -> None:
    assert built(Settings(), around(version)).site.reject_unknown_names is rejects


def test_an_image_is_for_any_nginx() -> None:
    assert built(Settings(), None).site.reject_unknown_names is False


def test_everybody_reaches_what_no_directory_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert values._everybody_reaches(Path("/usr/bin"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not values._everybody_reaches(closed)
    assert not values._everybody_reaches(Path("/none/at/all"))
