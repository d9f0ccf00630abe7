"""Which processes are this service's gunicorn, and what its command line says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Listener, Process, Processes
from ops.interpret import gunicorn
from ops.interpret.gunicorn import Hints
from tests.unit.made_snapshot import (
    BACKEND,
    GUNICORN_COMMAND,
    GUNICORN_LISTENER,
    GUNICORN_PROCESSES,
    HEALTHY,
    NGINX_PROCESSES,
    gunicorn_config,
    process,
)

NOTHING = Hints()


def hints(**facts: object) -> Hints:
    return msgspec.structs.replace(NOTHING, **facts)


@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn", "app:app"),
        ("/root/build/venv/bin/gunicorn", "-c", "x", "app:app"),
        GUNICORN_COMMAND,
        ("python3.11", "-u", "/opt/venv/bin/gunicorn", "app:app"),
        ("python", "-m", "gunicorn", "app:app"),
        ("gunicorn: master [app:app]",),
        ("gunicorn:", "worker", "[app:app]"),
    ],
)
def test_a_gunicorn_is_known_by_its_command_line_or_title(command: tuple[str, ...]) -> None:
    assert gunicorn.is_gunicorn(process(1, 0, *command))


@pytest.mark.parametrize(
    "command",
    [
        ("journalctl", "-fu", "gunicorn"),
        ("grep", "gunicorn"),
        ("tail", "-f", "/var/log/gunicorn"),
        ("vim", "gunicorn"),
        ("systemctl", "status", "gunicorn"),
        ("python", "app.py"),
        ("nginx: master process nginx",),
    ],
)
def test_what_the_operator_runs_beside_it_is_none(command: tuple[str, ...]) -> None:
    assert not gunicorn.is_gunicorn(process(1, 0, *command))


def test_a_process_without_a_command_line_is_known_by_its_name() -> None:
    nameless = process(1, 0, "gunicorn", command=())
    assert gunicorn.is_gunicorn(nameless)


def test_the_operator_s_own_view_of_the_log_does_not_pass_for_the_service() -> None:
    watching = Processes(processes=(process(77, 50, "journalctl", "-fu", "gunicorn"),), listeners=())
    assert gunicorn.find_master(watching, NOTHING) is None


def test_masters_have_no_gunicorn_above_them_and_workers_a_living_one() -> None:
    everyone = (
        *GUNICORN_PROCESSES,
        process(903, 900, *GUNICORN_COMMAND, state="zombie"),
        process(904, 900, "sh", "-c", "something"),
        process(950, 1, *GUNICORN_COMMAND, state="zombie"),
    )
    assert [p.pid for p in gunicorn.gunicorn_masters(everyone)] == [900]
    assert [p.pid for p in gunicorn.workers_of(everyone, 900)] == [901, 902]


# --- Which of several ---

OTHER = process(800, 1, "gunicorn", "-c", "/srv/other/gunicorn.conf.py", "other:app", cwd="/srv/other")
SEVERAL = Processes(
    processes=(OTHER, process(801, 800, "gunicorn"), *GUNICORN_PROCESSES),
    listeners=(Listener(address="127.0.0.1:8001", pids=(801,)), GUNICORN_LISTENER),
)


@pytest.mark.parametrize(
    ("facts", "pid"),
    [
        ({}, None),
        ({"pidfile_pid": 900}, 900),
        # A number alone may have become another's: the first that is known beside it decides.
        ({"pidfile_pid": 800, "bind": BACKEND}, 900),
        ({"pidfile_pid": 800, "bind": "127.0.0.1:8001"}, 800),
        ({"pidfile_pid": 800, "bind": BACKEND, "pidfile_is_own": True}, 800),
        ({"pidfile_pid": 800, "pidfile_is_own": False}, 900),
        ({"pidfile_pid": 800, "config_files": ("/srv/other/gunicorn.conf.py",), "bind": BACKEND}, 800),
        ({"pidfile_pid": 800, "config_files": ("/root/build/gunicorn.conf.py",)}, 900),
        ({"pidfile_pid": 800, "app_dirs": ("/srv/other",)}, 800),
        ({"pidfile_pid": 800, "app_dirs": ("/nowhere",)}, None),
        ({"pidfile_pid": 4242, "bind": BACKEND}, 900),
        ({"config_files": ("/srv/other/gunicorn.conf.py",)}, 800),
        ({"config_files": ("/root/build/gunicorn.conf.py",)}, 900),
        ({"bind": BACKEND}, 900),
        ({"bind": "127.0.0.1:8001"}, 800),
        ({"upstreams": ("127.0.0.1:7000", "127.0.0.1:8001")}, 800),
        ({"app_dirs": ("/srv/other",)}, 800),
        ({"app_dirs": ("/nowhere",)}, None),
        ({"bind": "127.0.0.1:7000"}, None),
    ],
)
def test_the_service_s_master_is_found_by_what_is_known(facts: dict[str, object], pid: int | None) -> None:
    master = gunicorn.find_master(SEVERAL, hints(**facts))
    assert (master.pid if master else None) == pid


def run_by(uid: int, *processes: Process, **changes: object) -> Processes:
    """SEVERAL, with ``processes`` of another user beside it."""
    others = tuple(msgspec.structs.replace(p, uid=uid, **changes) for p in processes)
    ours = tuple(msgspec.structs.replace(p, uid=0) for p in SEVERAL.processes)
    return msgspec.structs.replace(SEVERAL, processes=(*others, *ours))


POSER = process(666, 1, *GUNICORN_COMMAND, cwd="/root/build")


@pytest.mark.parametrize(
    ("facts", "pid"),
    [
        ({"config_files": ("/root/build/gunicorn.conf.py",)}, 900),
        ({"app_dirs": ("/root/build",)}, 900),
        ({"pidfile_pid": 666, "pidfile_uid": 65534, "bind": BACKEND}, 900),
        # Whose pidfile it is, that one's processes it names.
        ({"pidfile_pid": 800, "pidfile_uid": 1000, "bind": BACKEND, "pidfile_is_own": True}, 900),
        ({"pidfile_pid": 800, "pidfile_uid": 0, "bind": BACKEND, "pidfile_is_own": True}, 800),
        # Its own user's files are named: then it is the service.
        ({"config_files": ("/root/build/gunicorn.conf.py",), "owners": (65534,)}, 666),
        ({"bind": "127.0.0.1:6666"}, 666),
    ],
)
def test_another_user_s_gunicorn_is_the_service_only_by_what_the_kernel_says(
    facts: dict[str, object], pid: int
) -> None:
    table = run_by(65534, POSER)
    listens = Listener(address="127.0.0.1:6666", pids=(666,))
    table = msgspec.structs.replace(table, listeners=(*table.listeners, listens))
    master = gunicorn.find_master(table, hints(**facts))
    assert master is not None
    assert master.pid == pid


@pytest.mark.parametrize("contained", [{"is_nested": True}, {"has_other_root": True}])
def test_a_container_s_gunicorn_is_the_service_where_it_listens_and_says_nothing_of_paths(
    contained: dict[str, bool],
) -> None:
    inside = msgspec.structs.replace(POSER, uid=0, cwd=None, **contained)
    table = Processes(processes=(inside,), listeners=(Listener(address="127.0.0.1:6666", pids=(666,)),))
    assert gunicorn.find_master(table, hints(config_files=("/root/build/gunicorn.conf.py",))) is None
    assert gunicorn.find_master(table, hints(pidfile_pid=666, pidfile_is_own=True)) is None
    assert gunicorn.find_master(table, NOTHING) is None
    assert gunicorn.find_master(table, hints(bind="127.0.0.1:6666")) == inside
    assert gunicorn.arguments(inside) == ()
    assert gunicorn.config_path(inside) is None


def test_the_only_one_is_not_taken_where_the_pidfile_shows_that_it_is_another_service() -> None:
    only = msgspec.structs.replace(SEVERAL, processes=(OTHER,))
    assert gunicorn.find_master(only, NOTHING) == OTHER
    assert gunicorn.find_master(only, hints(pidfile_pid=800, pidfile_is_own=False)) is None


def test_the_only_one_is_taken_where_nothing_is_known_and_not_where_something_else_was_configured() -> None:
    assert isinstance(HEALTHY.processes, Processes)
    only = gunicorn.find_master(HEALTHY.processes, NOTHING)
    assert only is not None
    assert only.pid == 900
    assert gunicorn.find_master(HEALTHY.processes, hints(bind="127.0.0.1:7000")) is None
    assert gunicorn.find_master(Processes(processes=NGINX_PROCESSES, listeners=()), NOTHING) is None


# --- What its command line says ---


def test_options_are_known_long_short_and_glued() -> None:
    given_ = (
        "gunicorn",
        "-w4",
        "-b",
        ":8000",
        "--timeout=60",
        "--pid",
        "/run/x.pid",
        "-kgthread",
        "app:app",
        "--reload",
    )
    assert gunicorn.options(given_) == {
        "workers": "4",
        "bind": ":8000",
        "timeout": "60",
        "pid": "/run/x.pid",
        "worker-class": "gthread",
        "reload": "",
    }


@pytest.mark.parametrize(
    ("command", "cwd", "path"),
    [
        (("gunicorn", "-c", "conf.py", "app:app"), "/srv", "/srv/conf.py"),
        (("gunicorn", "--config=/etc/g.py"), "/srv", "/etc/g.py"),
        (("gunicorn", "-c", "file:/etc/g.py"), "/srv", "/etc/g.py"),
        (("gunicorn", "-c", "python:settings.gunicorn"), "/srv", None),
        (("gunicorn", "app:app"), "/srv", "/srv/gunicorn.conf.py"),
        (("gunicorn", "app:app"), None, None),
    ],
)
def test_the_configuration_file_is_the_command_line_s_or_the_directory_s(
    command: tuple[str, ...], cwd: str | None, path: str | None
) -> None:
    assert gunicorn.config_path(process(1, 0, *command, cwd=cwd)) == path


def test_the_command_line_wins_over_the_file() -> None:
    config = gunicorn_config(timeout=30)
    assert gunicorn.setting("timeout", "timeout", ("gunicorn", "-t", "7"), config) == "7"
    assert gunicorn.setting("timeout", "timeout", ("gunicorn",), config) == 30
    assert gunicorn.setting("workers", "workers", ("gunicorn",), config) is None
    assert gunicorn.setting("timeout", "timeout", (), NotSeen(reason="-")) is None
    assert gunicorn.setting("timeout", "timeout", (), GunicornConfig(path="x", missing=True)) is None


@pytest.mark.parametrize(
    ("bind", "addresses"),
    [
        ("127.0.0.1:8000", ("127.0.0.1:8000",)),
        (":8000", ("0.0.0.0:8000",)),
        ("localhost:8000", ("127.0.0.1:8000",)),
        ("127.0.0.1", ("127.0.0.1:8000",)),
        ("[::1]:9000", ("[::1]:9000",)),
        ("[::1]", ("[::1]:8000",)),
        ("tcp://127.0.0.1:8000", ("127.0.0.1:8000",)),
        ("unix:/run/gte.sock", ("unix:/run/gte.sock",)),
        ("unix:///run/gte.sock", ("unix:/run/gte.sock",)),
        ("127.0.0.1:8000, unix:/run/x", ("127.0.0.1:8000", "unix:/run/x")),
        (["127.0.0.1:8000", "[::1]:8000"], ("127.0.0.1:8000", "[::1]:8000")),
        ("", ()),
        (None, ()),
        ([], ()),
    ],
)
def test_bind_is_read_in_every_form(bind: object, addresses: tuple[str, ...]) -> None:
    assert gunicorn.bind_addresses(bind) == addresses


@given(st.text(max_size=30))
@example("fd://3")
def test_no_bind_crashes(bind: str) -> None:
    gunicorn.bind_addresses(bind)


def test_who_holds_an_address() -> None:
    assert isinstance(HEALTHY.processes, Processes)
    holders: tuple[Process, ...] = gunicorn.holder(HEALTHY.processes, BACKEND)
    assert [p.pid for p in holders] == [900, 901, 902]
    assert gunicorn.holder(HEALTHY.processes, "127.0.0.1:9") == ()
    assert gunicorn.is_listening(HEALTHY.processes, "127.0.0.1:443")
    assert not gunicorn.is_listening(HEALTHY.processes, "127.0.0.1:9")
    assert gunicorn.listening_on(HEALTHY.processes, (901,)) == (BACKEND,)


def test_the_command_line_wins_over_the_variable_and_both_over_the_file() -> None:
    master = process(
        1, 0, "gunicorn", "--timeout", "60", environment={"GUNICORN_CMD_ARGS": "--timeout 90 --bind ':9000'"}
    )
    arguments = gunicorn.arguments(master)
    config = gunicorn_config(timeout=30, bind="127.0.0.1:8000", workers=4)
    assert gunicorn.setting("timeout", "timeout", arguments, config) == "60"
    assert gunicorn.bind_addresses(gunicorn.setting("bind", "bind", arguments, config)) == ("0.0.0.0:9000",)
    assert gunicorn.setting("workers", "workers", arguments, config) == 4
    assert gunicorn.arguments(None) == ()


def test_a_variable_that_no_shell_would_read_is_left_out() -> None:
    master = process(1, 0, "gunicorn", "app:app", environment={"GUNICORN_CMD_ARGS": "--bind 'x"})
    assert gunicorn.arguments(master) == ("gunicorn", "app:app")


def test_a_socket_that_somebody_else_opened_names_no_address() -> None:
    assert gunicorn.bind_addresses("fd://3") == ()
    assert gunicorn.bind_addresses(["fd://3", "127.0.0.1:8001"]) == ("127.0.0.1:8001",)
