"""Whose word counts: what the kernel says of a process or a file decides, not what it says of itself."""

from __future__ import annotations

import stat

import msgspec
import pytest

from ops.facts.host import Processes
from ops.files.ownership import PathEntry, distrust, may_write
from ops.interpret.authority import (
    Standing,
    is_nginx_program,
    may_name,
    posing_as_nginx,
    speaks_for,
    standing,
)
from ops.interpret.nginx import nginx_masters, serving_masters
from tests.unit.made_snapshot import HEALTHY, TARGET, process

DIRECTORY, FILE, LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK
MASTER = process(700, 1, "nginx: master process /usr/sbin/nginx", executable="/usr/sbin/nginx", uid=0)


@pytest.mark.parametrize(
    ("facts", "caller", "expected"),
    [
        ({}, 0, Standing.HOST),
        ({"uid": 1000}, 0, Standing.USER),
        ({"uid": 1000}, 1000, Standing.HOST),
        ({"uid": 0}, 1000, Standing.HOST),
        ({"uid": 65534}, 1000, Standing.USER),
        # `exec -a 'nginx: master process -c /mine' sudo`: root's, with anybody's arguments.
        ({"is_setuid": True}, 0, Standing.USER),
        ({"is_nested": True}, 0, Standing.CONTAINER),
        ({"has_other_root": True}, 0, Standing.CONTAINER),
        ({"is_nested": True, "uid": 1000}, 1000, Standing.CONTAINER),
        # A unit with a mount namespace of its own, of which the root was not seen.
        ({"has_other_root": None, "is_setuid": None}, 0, Standing.HOST),
        # A bundle of the first version knows only the user's name.
        ({"uid": None, "user": "root"}, 0, Standing.HOST),
        ({"uid": None, "user": "www-data"}, 0, Standing.USER),
    ],
)
def test_a_process_speaks_for_the_host_its_user_or_its_container(
    facts: dict[str, object], caller: int, expected: Standing
) -> None:
    assert standing(msgspec.structs.replace(MASTER, **facts), caller) is expected


def test_a_user_s_process_speaks_for_that_user_s_files_and_root_s_for_all() -> None:
    users = msgspec.structs.replace(MASTER, uid=1000)
    assert speaks_for(users, 1000, caller=0)
    assert not speaks_for(users, 0, caller=0)
    assert not speaks_for(users, 1001, caller=0)
    assert speaks_for(MASTER, 1000, caller=0)
    assert not speaks_for(msgspec.structs.replace(users, is_nested=True), 1000, caller=0)


@pytest.mark.parametrize(
    ("owner", "named", "allowed"),
    [(0, 1000, True), (1000, 1000, True), (1000, 1001, False), (65534, 0, False), (42, 0, True)],
)
def test_a_pidfile_names_processes_of_its_owner_s(owner: int, named: int, allowed: bool) -> None:
    assert may_name(owner, named, caller=42) is allowed


# --- nginx ---


@pytest.mark.parametrize(
    "decoy",
    [
        {"uid": 65534},
        {"is_setuid": True},
        {"is_nested": True},
        {"has_other_root": True},
        {"executable": "/usr/bin/sudo"},
        {"executable": "/usr/bin/python3.11"},
    ],
)
def test_who_only_calls_itself_nginx_is_shown_and_not_believed(decoy: dict[str, object]) -> None:
    poser = msgspec.structs.replace(MASTER, pid=666, **decoy)
    table = Processes(processes=(poser, MASTER), listeners=())
    assert [p.pid for p in nginx_masters(table)] == [700]
    assert [p.pid for p, _ in posing_as_nginx(table)] == [666]
    pidfile = msgspec.structs.replace(HEALTHY.nginx_pidfile, pid=666)
    assert [p.pid for p in serving_masters(TARGET, table, pidfile)] == [700]


def test_an_nginx_that_cannot_serve_this_host_is_no_impostor_on_it() -> None:
    """As a drill runs one: another user's, in a network namespace of its own."""
    theirs = msgspec.structs.replace(MASTER, pid=666, uid=61234, has_other_network=True)
    assert [where for _, where in posing_as_nginx(Processes(processes=(theirs,), listeners=()))] == [
        Standing.CONTAINER
    ]


def test_a_user_s_nginx_serves_the_files_of_its_own_that_settings_name() -> None:
    theirs = msgspec.structs.replace(
        MASTER, uid=1000, command=("nginx: master process nginx -c /home/web/nginx.conf",)
    )
    table = Processes(processes=(theirs,), listeners=())
    target = msgspec.structs.replace(
        TARGET, nginx_config_file="/home/web/nginx.conf", nginx_config_owner=1000
    )
    assert list(serving_masters(target, table, HEALTHY.nginx_pidfile)) == [theirs]
    target = msgspec.structs.replace(target, nginx_config_owner=0)
    assert not list(serving_masters(target, table, HEALTHY.nginx_pidfile))


def test_a_user_s_pidfile_does_not_make_another_s_nginx_the_one_that_serves() -> None:
    elsewhere = msgspec.structs.replace(MASTER, command=("nginx: master process nginx -c /srv/other.conf",))
    table = Processes(processes=(elsewhere,), listeners=())
    forged = msgspec.structs.replace(HEALTHY.nginx_pidfile, pid=700, uid=65534)
    assert not list(serving_masters(TARGET, table, forged))
    assert list(serving_masters(TARGET, table, msgspec.structs.replace(forged, uid=0))) == [elsewhere]


@pytest.mark.parametrize(
    ("executable", "is_one"),
    [
        ("/usr/sbin/nginx", True),
        ("/usr/sbin/nginx (deleted)", True),
        ("/usr/local/openresty/nginx/sbin/nginx", True),
        ("/usr/sbin/nginx-debug", True),
        ("/usr/sbin/angie", True),
        (None, True),
        ("/bin/su", False),
        ("/tmp/bash", False),
    ],
)
def test_an_nginx_runs_an_nginx_s_program(executable: str | None, is_one: bool) -> None:
    assert is_nginx_program(executable) is is_one


# --- files ---


def steps(*facts: tuple[str, int, int]) -> tuple[PathEntry, ...]:
    return tuple(PathEntry(path=path, uid=uid, mode=mode) for path, uid, mode in facts)


ROOT_DIRECTORY = ("/", 0, DIRECTORY | 0o755)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((("/a", 0, FILE | 0o755),), None),
        ((("/a", 1000, FILE | 0o755),), "/a belongs to user 1000"),
        ((("/d", 1000, DIRECTORY | 0o755), ("/d/a", 0, FILE | 0o755)), "/d belongs to user 1000"),
        ((("/a", 0, FILE | 0o757),), "everybody may write /a"),
        ((("/a", 0, FILE | 0o775),), "/a may be written by its group"),
        ((("/d", 0, DIRECTORY | 0o777), ("/d/a", 0, FILE | 0o755)), "everybody may write /d"),
        # A sticky directory keeps what is root's; what lies in it must be root's too.
        ((("/tmp", 0, DIRECTORY | 0o1777), ("/tmp/a", 0, FILE | 0o755)), None),
        ((("/tmp", 0, DIRECTORY | 0o1777), ("/tmp/a", 1000, FILE | 0o755)), "/tmp/a belongs to user 1000"),
        ((("/tmp", 0, DIRECTORY | 0o1777), ("/tmp/d", 0, DIRECTORY | 0o777), ("/tmp/d/a", 0, FILE)),
         "everybody may write /tmp/d"),
        # A link's mode is never looked at, its owner is.
        ((("/l", 0, LINK | 0o777), ("/a", 0, FILE | 0o755)), None),
        ((("/l", 1000, LINK | 0o777), ("/a", 0, FILE | 0o755)), "/l belongs to user 1000"),
        # The caller's own is trusted.
        ((("/home", 0, DIRECTORY | 0o755), ("/home/me", 42, DIRECTORY | 0o700)), None),
    ],
)  # fmt: skip
def test_a_path_is_trusted_where_nobody_else_may_change_a_step_of_it(
    entries: tuple[tuple[str, int, int], ...], why: str | None
) -> None:
    assert distrust(steps(ROOT_DIRECTORY, *entries), {0, 42}) == why


def test_a_group_of_nobody_else_may_write() -> None:
    entry = PathEntry(path="/a", uid=0, mode=FILE | 0o775, is_shared_group=False)
    assert distrust((entry,), {0}) is None


def test_of_a_directory_that_is_read_as_a_whole_a_new_file_counts_too() -> None:
    sticky = steps(ROOT_DIRECTORY, ("/tmp", 0, DIRECTORY | 0o1777))
    assert distrust(sticky, {0}) is None
    assert distrust(sticky, {0}, listed=True) == "everybody may write /tmp"


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected"),
    [
        (0o644, 1000, 1000, True),
        (0o444, 1000, 1000, False),
        (0o664, 0, 50, True),
        (0o664, 0, 51, False),
        (0o646, 0, 51, True),
        (0o604, 0, 0, False),
        # The first class that fits decides: the owner's, then the group's.
        (0o066, 1000, 50, False),
    ],
)
def test_who_may_write_a_file_by_its_mode(mode: int, owner: int, group: int, expected: bool) -> None:
    assert may_write(mode, owner, group, 1000, {1000, 50}) is expected


def test_root_may_write_everything() -> None:
    assert may_write(0o400, 1000, 1000, 0, ())
