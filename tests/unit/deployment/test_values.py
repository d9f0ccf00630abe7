"""A host's own values for the rendered files: what runs there, and as whom the unit runs it from now on."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.surroundings import Surroundings
from ops.deployment import running_gunicorn, values
from ops.deployment.render import Deployment, render_nginx
from ops.facts.host import Processes
from ops.settings import AppSettings, GunicornSettings, NginxSettings, Settings
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
        gunicorn=HEALTHY.gunicorn,  # type: ignore[arg-type]
        target=HEALTHY.target,  # type: ignore[arg-type]
        nginx_pidfile=HEALTHY.nginx_pidfile,
    )


def built(settings: Settings, surroundings: Surroundings | None) -> Deployment:
    return values._Builder(settings, None, surroundings, ()).deployment()


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
    ("script", "program"),
    [
        ("venv/bin/gunicorn", "/srv/app/venv/bin"),
        ("../lib/venv/bin/gunicorn", "/srv/lib/venv/bin"),
        ("/opt/app/bin/gunicorn", "/opt/app/bin"),
    ],
)
def test_the_unit_starts_the_program_that_runs(script: str, program: str) -> None:
    surroundings = around(command=("/usr/bin/python3", script, "app:app"), cwd="/srv/app")
    assert built(Settings(), surroundings).programs == program


def test_the_watchdogs_unit_may_remove_a_stale_pidfile() -> None:
    assert "/var/run" in built(Settings(), around()).watchdog_writes
    assert built(moved(), around()).watchdog_writes == ()


def test_units_are_told_where_backups_and_certbots_tree_lie() -> None:
    deployment = built(Settings(), around())
    assert (deployment.backup_dir, deployment.letsencrypt_dir) == ("/var/backups/gte-ops", "/etc/letsencrypt")


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


def test_rate_and_burst_are_the_settings() -> None:
    site = built(Settings(nginx=NginxSettings(rate="10r/s", burst=200)), None).site
    text = render_nginx(site)["conf.d/gte-api.conf"]
    assert "zone=gte_api:10m rate=10r/s;" in text
    assert "zone=gte_api burst=200 nodelay;" in text


def test_everybody_reaches_what_no_directory_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert values._everybody_reaches(Path("/usr/bin"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not values._everybody_reaches(closed)
    assert not values._everybody_reaches(Path("/none/at/all"))


# --- whose gunicorn speaks ------------------------------------------------------------------------------------------

USER = 4242  # no account has this number


def of_user(*, listening: bool, uid: int = USER, **changes: Any) -> Surroundings:
    """The guide's host, its gunicorn a user's own."""
    surroundings = around(
        user="somebody", uid=uid, command=("/theirs/python", "/theirs/gunicorn", "app:app"), **changes
    )
    assert isinstance(surroundings.processes, Processes)
    listeners = surroundings.processes.listeners if listening else ()
    processes = msgspec.structs.replace(surroundings.processes, listeners=listeners, caller=0)
    target = msgspec.structs.replace(
        surroundings.target,
        app_dir="/theirs",
        backend="127.0.0.1:9",
        origin={"app_dir": "gunicorn's directory", "backend": "gunicorn 1 listens there"},
    )
    return msgspec.structs.replace(surroundings, processes=processes, target=target)


def test_a_users_gunicorn_that_nobody_else_names_decides_nothing() -> None:
    deployment = built(Settings(), of_user(listening=False))
    assert deployment.gunicorn_owner == ACCOUNT
    assert (deployment.programs, deployment.app_dir) == (Deployment().programs, Deployment().app_dir)
    assert deployment.gunicorn_arguments == Deployment().gunicorn_arguments
    assert deployment.gunicorn_pidfile == Deployment().gunicorn_pidfile
    assert deployment.site.backend == HEALTHY.target.upstreams[0]
    assert deployment.gunicorn_note is not None
    assert "of user somebody calls itself gunicorn, and nothing else says" in deployment.gunicorn_note.en


def test_one_that_listens_where_nginx_looks_speaks_for_its_own_user() -> None:
    deployment = built(Settings(), of_user(listening=True))
    assert deployment.gunicorn_owner[0] == str(USER)
    assert (deployment.programs, deployment.app_dir) == ("/theirs", "/theirs")
    assert deployment.gunicorn_note is not None
    assert "the files follow the gunicorn that user somebody runs" in deployment.gunicorn_note.en


def test_not_where_the_configured_files_are_another_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the caller's files any user's process may be the service, of another user's only that user's."""
    settings = Settings(app=AppSettings(dir="/theirs"))
    monkeypatch.setattr(running_gunicorn, "_owner", lambda _: os.geteuid())
    assert built(settings, of_user(listening=True)).gunicorn_owner[0] == str(USER)
    monkeypatch.setattr(running_gunicorn, "_owner", lambda _: USER)
    assert built(settings, of_user(listening=True)).gunicorn_owner[0] == str(USER)
    assert built(settings, of_user(listening=False, cwd="/theirs")).gunicorn_owner[0] == str(USER)
    assert built(settings, of_user(listening=True, uid=USER + 1)).gunicorn_owner == ACCOUNT


@pytest.mark.parametrize(
    "elsewhere", [{"is_nested": True}, {"has_other_root": True}, {"is_setuid": True, "uid": 0}]
)
def test_a_containers_gunicorn_and_a_borrowed_user_id_speak_for_no_unit(elsewhere: dict[str, Any]) -> None:
    deployment = built(Settings(), of_user(listening=False, **elsewhere))
    assert (deployment.gunicorn_owner, deployment.programs) == (ACCOUNT, Deployment().programs)


def test_roots_gunicorn_speaks_without_more() -> None:
    deployment = built(Settings(), of_user(listening=False, uid=0))
    assert (deployment.programs, deployment.gunicorn_note) == ("/theirs", None)


def test_the_unit_starts_the_running_application_as_it_was_started() -> None:
    command = (
        "/srv/venv/bin/python",
        "/srv/venv/bin/gunicorn",
        "-D",
        "-k",
        "asgi",
        "-w",
        "2",
        "shop.main:app",
    )
    assert built(Settings(), around(command=command)).gunicorn_arguments == "-k asgi -w 2 shop.main:app"


def test_what_settings_name_is_started_all_the_same() -> None:
    command = ("/srv/venv/bin/python", "/srv/venv/bin/gunicorn", "-w", "2", "shop.main:app")
    settings = Settings(app=AppSettings(wsgi="other:app"), gunicorn=GunicornSettings(config_file="/srv/g.py"))
    assert built(settings, around(command=command)).gunicorn_arguments == "-c /srv/g.py other:app"


def test_an_argument_that_systemd_would_read_its_own_way_is_not_taken_over() -> None:
    command = ("/srv/venv/bin/gunicorn", "--access-logformat", "%(h)s $x", "shop.main:app")
    arguments = built(Settings(), around(command=command)).gunicorn_arguments
    assert "%" not in arguments
    assert arguments.endswith(" shop.main:app")
