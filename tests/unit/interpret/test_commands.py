"""Command lines that a person is told to type: what stands in them on another user's word is run as that user."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.host import Host, Process
from ops.interpret.commands import FilesFound, as_user_of, commands
from ops.settings import Settings
from tests.unit.made_snapshot import GUNICORN_PROCESSES, HEALTHY

SERVICE = msgspec.structs.replace(GUNICORN_PROCESSES[0], uid=990, user="gte-api")
ROOTS = msgspec.structs.replace(GUNICORN_PROCESSES[0], uid=0)
SCRIPT = FilesFound(start_script=True)


def typed(
    master: Process | None, files: FilesFound = SCRIPT, *, app_dir: str = "/srv/app", owner: int = 0
) -> dict[str, str]:
    assert isinstance(HEALTHY.host, Host)
    values: dict[str, str] = commands(
        Settings(),
        msgspec.structs.replace(HEALTHY.host, has_systemd=False),
        files,
        "/home/x/nginx.conf",
        "/usr/sbin/nginx",
        {},
        app_dir,
        "/srv/app/venv/bin/python",
        master,
        NotSeen(reason="not read"),
        caller=0,
        nginx_owner=owner,
    )
    return values


@pytest.mark.parametrize("master", [ROOTS, None], ids=["root's gunicorn", "no gunicorn"])
def test_what_root_or_nobody_named_is_typed_as_it_is(master: Process | None) -> None:
    values = typed(master)
    assert values["start_command"] == "bash /srv/app/start-prod.sh"
    assert values["python_command"] == "/srv/app/venv/bin/python"


@pytest.mark.parametrize("files", [SCRIPT, FilesFound()], ids=["a script", "gunicorn itself"])
def test_a_program_that_a_users_gunicorn_named_is_run_as_that_user(files: FilesFound) -> None:
    values = typed(SERVICE, files)
    for name in ("start_command", "python_command"):
        assert values[name].startswith("runuser -u gte-api -- "), values[name]
    # The kernel names the process.
    assert files is SCRIPT or values["restart_command"] == f"kill -HUP {SERVICE.pid}"


def test_a_user_without_a_name_is_named_by_number() -> None:
    unnamed = msgspec.structs.replace(SERVICE, uid=4242, user="4242")
    assert as_user_of(unnamed, "true").startswith(
        "setpriv --reuid=4242 --regid=4242 --clear-groups -- sh -c "
    )


def test_no_directorys_name_becomes_a_second_command() -> None:
    for master in (ROOTS, SERVICE):
        for files in (SCRIPT, FilesFound()):
            words = typed(master, files, app_dir="/srv/a; touch x $(id)")["start_command"]
            while shlex.split(words)[:1] == ["runuser"]:
                words = shlex.split(words)[-1]
            assert "/srv/a; touch x $(id)" in " ".join(shlex.split(words))
            lexer = shlex.shlex(words, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            assert ";" not in list(lexer)


@pytest.mark.parametrize("name", ["test_nginx", "start_nginx", "reload_nginx"])
def test_an_nginx_of_another_users_configuration_is_run_as_that_user(name: str) -> None:
    assert typed(None, owner=990)[name].startswith("setpriv --reuid=990 ")
    assert typed(None)[name].startswith("/usr/sbin/nginx ")
