"""Where root happens to stand decides nothing: no module is imported and no configuration read that another user put
there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import CONFIG, gte_ops, guide_host, report, start_nginx
from tests.attacks.namespaces import on_a_host_of_its_own

# What the toolkit imports, and what Python imports by itself.
MODULES = (
    "apprise", "click", "crossplane", "cryptography", "ctypes", "json", "msgspec", "ops", "psutil", "requests", "rich",
    "service", "sitecustomize", "tomllib", "usercustomize",
)  # fmt: skip
PAYLOAD = "open('/root/owned', 'a').write(__name__ + '\\n')\nraise SystemExit(7)\n"

COMMANDS = {
    "watchdog": ("watchdog", "--once"),
    "doctor": ("doctor",),
    "backup": ("backup", "create"),
    "preflight": ("preflight",),
    "cert": ("cert", "check"),
    "notify": ("notify", "test"),
}


@pytest.mark.parametrize("directory", ["the user's", "everybody's"])
@on_a_host_of_its_own
def test_no_module_in_the_working_directory_is_imported(directory: str) -> None:
    guide_host()
    start_nginx()
    CONFIG.parent.mkdir()
    CONFIG.write_text('[notify]\nurls = ["json://127.0.0.1:9/"]\n')
    where = attacker.place() if directory == "the user's" else attacker.shared("drop", mode=0o1777)
    for name in MODULES:
        attacker.write(where / f"{name}.py", PAYLOAD)
    found = {}
    for name, command in COMMANDS.items():
        # A failure seen twice is one that the watchdog keeps evidence of.
        for _ in range(2 if name == "watchdog" else 1):
            gte_ops(*command, cwd=where)
        if lines := attacker.owned():
            found[name] = lines
    assert found == {}


# --- gte-ops.toml -----------------------------------------------------------------------------------------------------

MARK = "configured.example"


def settings() -> str:
    """A configuration that shows whether it was read, and names a program."""
    program = attacker.program(attacker.place() / "nginx")
    return f'[target]\ndomain = "{MARK}"\n[nginx]\nbinary = "{program}"\n[app]\npython = "{program}"\n'


def of_a_user() -> Path:
    return attacker.write(attacker.place("there") / "gte-ops.toml", settings()).parent


def of_a_user_in_roots_directory() -> Path:
    return attacker.write(attacker.shared("there") / "gte-ops.toml", settings()).parent


def for_its_group_to_write() -> Path:
    file = attacker.write(attacker.shared("there") / "gte-ops.toml", settings(), uid=0, mode=0o664)
    os.chown(file, 0, attacker.UID)
    return file.parent


def for_everybody_to_write() -> Path:
    return attacker.write(attacker.shared("there") / "gte-ops.toml", settings(), uid=0, mode=0o666).parent


def in_a_directory_of_a_user() -> Path:
    return attacker.write(attacker.place("there") / "gte-ops.toml", settings(), uid=0).parent


def in_a_directory_for_everybody() -> Path:
    return attacker.write(attacker.shared("there", mode=0o777) / "gte-ops.toml", settings(), uid=0).parent


def in_a_directory_for_its_group() -> Path:
    where = attacker.shared("there", mode=0o775)
    os.chown(where, 0, attacker.UID)
    return attacker.write(where / "gte-ops.toml", settings(), uid=0).parent


def by_a_link() -> Path:
    """Root's own link, which leads to a user's file."""
    attacker.write(attacker.place("elsewhere") / "gte-ops.toml", settings())
    where = attacker.shared("there")
    (where / "gte-ops.toml").symlink_to(attacker.PLACE / "elsewhere/gte-ops.toml")
    return where


def by_a_users_link() -> Path:
    """A user's link in a sticky directory, which leads to a file of root's."""
    attacker.write(attacker.shared("elsewhere") / "gte-ops.toml", settings(), uid=0)
    where = attacker.shared("there", mode=0o1777)
    link = where / "gte-ops.toml"
    link.symlink_to("/srv/shared/elsewhere/gte-ops.toml")
    attacker.give(link)
    return where


PASSED_OVER = {
    "of a user": of_a_user,
    "of a user in root's directory": of_a_user_in_roots_directory,
    "for its group to write": for_its_group_to_write,
    "for everybody to write": for_everybody_to_write,
    "in a directory of a user": in_a_directory_of_a_user,
    "in a directory for everybody": in_a_directory_for_everybody,
    "in a directory for its group": in_a_directory_for_its_group,
    "by a link": by_a_link,
    "by a user's link": by_a_users_link,
}


@pytest.mark.parametrize("where", PASSED_OVER)
@on_a_host_of_its_own
def test_a_configuration_that_another_user_may_change_is_passed_over_and_said_to_be(where: str) -> None:
    guide_host()
    ran = gte_ops("doctor", "--format", "json", cwd=PASSED_OVER[where]())
    assert attacker.owned() == []
    assert json.loads(ran.stdout)["target"]["domain"] != MARK
    assert "gte-ops.toml" in ran.stdout + ran.stderr, ran.stderr


@pytest.mark.parametrize("how", ["--config", "GTE_OPS_CONFIG"])
@on_a_host_of_its_own
def test_naming_it_does_not_make_it_roots(how: str) -> None:
    guide_host()
    file = of_a_user() / "gte-ops.toml"
    options = ("--config", str(file)) if how == "--config" else ()
    ran = gte_ops("doctor", "--format", "json", *options, environment={"GTE_OPS_CONFIG": str(file)})
    assert attacker.owned() == []
    assert MARK not in ran.stdout, ran.stdout
    assert str(file) in ran.stdout + ran.stderr


def on_roots_own_account() -> tuple[Path, int]:
    where = Path("/root/here")
    where.mkdir()
    attacker.write(where / "gte-ops.toml", settings(), uid=0, mode=0o600)
    return where, 0


def of_the_caller() -> tuple[Path, int]:
    return attacker.write(attacker.place("there") / "gte-ops.toml", settings()).parent, attacker.UID


def of_root_for_a_user() -> tuple[Path, int]:
    Path("/etc/gte-ops").mkdir()
    CONFIG.write_text(settings())
    return Path("/"), attacker.UID


def in_etc() -> tuple[Path, int]:
    Path("/etc/gte-ops").mkdir()
    CONFIG.write_text(settings())
    return Path("/"), 0


def by_roots_own_link() -> tuple[Path, int]:
    Path("/etc/gte-ops").mkdir()
    Path("/etc/gte-ops/site.toml").write_text(settings())
    CONFIG.symlink_to("site.toml")
    return Path("/"), 0


READ: dict[str, Callable[[], tuple[Path, int]]] = {
    "on root's own account": on_roots_own_account,
    "the caller's": of_the_caller,
    "root's, for a user": of_root_for_a_user,
    "in /etc": in_etc,
    "by root's own link": by_roots_own_link,
}


@pytest.mark.parametrize("which", READ)
@on_a_host_of_its_own
def test_a_configuration_that_only_root_or_the_caller_may_change_is_read(which: str) -> None:
    guide_host()
    where, uid = READ[which]()
    assert report(cwd=where, uid=uid)["target"]["domain"] == MARK
