"""A restore by root does nothing for a user that the user could not have done himself: not through links or other
directories that the user lays, at rest or meanwhile. And a user's gunicorn has only the user's own files backed up."""

from __future__ import annotations

import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from ops.archive.reading import open_archive
from ops.backups.restore.apply import Restoration, RestoreError, look
from ops.backups.restore.journal import only_restore, read_journal, recover
from ops.collect.services import nginx
from ops.files.nofollow_tree import NoFollowTree
from tests.attacks import attacker
from tests.attacks.host import CONFIG, gte_ops, guide_host
from tests.attacks.namespaces import on_a_host_of_its_own

BACKUPS = Path("/var/backups/gte-ops")
OTHER = 4321


def settings(text: str = "") -> None:
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(text)


def gunicorn(config: Path, *, uid: int = attacker.UID) -> None:
    """A process of a user's that is a gunicorn with this configuration file."""
    python = attacker.place("bin", uid=uid) / "python3"
    python.symlink_to("/usr/bin/python3")
    program = attacker.write(python.with_name("gunicorn"), "import time\ntime.sleep(1000)\n", mode=0o755)
    words = [str(python), str(program), "-c", str(config), "-b", "127.0.0.1:8000", "app:app"]
    attacker.start(str(python), words, uid=uid, cwd="/srv")


def back_up(*expected: int) -> Path:
    """One backup by root; the archive."""
    ran = gte_ops("backup", "create")
    assert ran.returncode in (expected or (0, 1)), ran.stdout + ran.stderr
    return sorted(BACKUPS.glob("*.tar.zst"))[-1]


def included(archive: Path) -> dict[str, int]:
    """Every path of an archive, and its owner."""
    with open_archive(archive) as opened:
        return {f"/{entry.path}": entry.uid for entry in opened.manifest.entries}


def replace_by_link(place: Path, target: str) -> None:
    """The user moves a directory of his away and lays a link."""
    place.rename(place.with_name("old"))
    place.symlink_to(target)
    attacker.give(place)


def facts_below(place: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Owner, group, mode and content of everything at and below ``place``."""
    found = {}
    for path in (place, *place.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, content)
    return found


def include(*paths: Path) -> None:
    """What an operator has backed up besides."""
    settings(f"[backup]\ninclude = {[str(path) for path in paths]}\n")


# --- links laid between the backup and the restore --------------------------------------------------------------------


def by_a_process(place: Path) -> None:
    settings()
    gunicorn(place)


def by_the_settings(place: Path) -> None:
    settings(f"[gunicorn]\nconfig_file = '{place}'\nbind = '127.0.0.1:8000'\n")
    gunicorn(place)


def by_an_include(place: Path) -> None:
    include(place)


NAMED = {"a process": by_a_process, "settings": by_the_settings, "include": by_an_include}


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize("name", ["profile.d/zz.sh", "shells", "etc-new/deep/zz.sh"])
@on_a_host_of_its_own
def test_no_directory_and_no_file_of_roots_is_changed_through_a_users_link(how: str, name: str) -> None:
    guide_host()
    Path("/etc/shells").write_text("/bin/sh\n")
    Path("/etc/profile.d").mkdir(exist_ok=True)
    place = attacker.place("x") / name
    attacker.place(f"x/{Path(name).parent}", mode=0o777)
    NAMED[how](attacker.write(place, "#evil\n"))
    assert str(place) in included(back_up())
    replace_by_link(attacker.PLACE / "x", "/etc")
    before = facts_below(Path("/etc"))
    ran = gte_ops("backup", "restore", "--yes")
    assert facts_below(Path("/etc")) == before
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"/srv/attacker/x is a link of user {attacker.UID}" in ran.stdout


@on_a_host_of_its_own
def test_one_users_link_keeps_nothing_else_from_being_restored() -> None:
    guide_host()
    by_an_include(attacker.write(attacker.place("x") / "zz.sh", "#\n"))
    back_up()
    replace_by_link(attacker.PLACE / "x", "/etc")
    config = Path("/etc/nginx/nginx.conf")
    wanted = config.read_text()
    config.write_text(f"{wanted}# changed\n")
    ran = gte_ops("backup", "restore", "--yes")
    assert config.read_text() == wanted, ran.stdout + ran.stderr
    assert ran.returncode == 1


@on_a_host_of_its_own
def test_a_dry_run_says_what_is_refused_and_where_a_link_leads() -> None:
    guide_host()
    theirs = attacker.write(attacker.place("x") / "zz.sh", "#\n")
    Path("/srv/app").mkdir()
    app = Path("/srv/app/app.conf")
    app.write_text("# app\n")
    include(theirs, app)
    back_up()
    replace_by_link(attacker.PLACE / "x", "/etc")
    Path("/srv/app").rename("/srv/app-2")
    Path("/srv/app").symlink_to("/srv/app-2")
    Path("/srv/app-2/app.conf").write_text("# changed\n")
    ran = gte_ops("backup", "restore", "--dry-run")
    assert "/srv/app/app.conf -> /srv/app-2/app.conf: " in ran.stdout
    assert re.search(r"/srv/attacker/x/zz\.sh: is not restored: /srv/attacker/x is a link", ran.stdout), (
        ran.stdout
    )
    assert not Path("/etc/zz.sh").exists()


@on_a_host_of_its_own
def test_a_directory_of_roots_in_the_place_of_a_users_is_left_alone() -> None:
    """No link: the user chose a name where everybody may, and root's directory is there now."""
    guide_host()
    place = Path("/tmp/cache")
    place.mkdir()
    attacker.give(place).chmod(0o777)
    include(attacker.write(place / "zz.sh", "#evil\n"))
    back_up()
    (place / "zz.sh").unlink()
    place.rmdir()
    place.mkdir(mode=0o755)
    before = facts_below(place)
    ran = gte_ops("backup", "restore", "--yes")
    assert facts_below(place) == before, ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_a_file_of_roots_in_a_users_directory_is_neither_given_away_nor_replaced() -> None:
    guide_host()
    theirs = attacker.write(attacker.place("x") / "app.conf", "#evil\n")
    include(theirs)
    back_up()
    theirs.unlink()
    theirs.write_text("root's own\n")
    ran = gte_ops("backup", "restore", "--yes")
    assert (theirs.read_text(), theirs.stat().st_uid) == ("root's own\n", 0), ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_no_file_becomes_set_user_id_in_a_place_of_others() -> None:
    guide_host()
    theirs = attacker.write(attacker.place("x") / "program", "#!/bin/sh\n")
    theirs.chmod(0o4755)
    include(theirs)
    back_up()
    theirs.unlink()
    ran = gte_ops("backup", "restore", "--yes")
    assert not theirs.exists(), ran.stdout + ran.stderr


# --- while it is restored ---------------------------------------------------------------------------------------------


def restored_while(swap: Callable[[], None], archive: Path) -> str:
    """A restore of ``archive`` in which ``swap`` happens after everything was staged; why it failed."""
    tree = NoFollowTree(Path("/"))
    try:
        prospect = look(tree, archive, (), ("/srv/attacker",))
        with only_restore(BACKUPS), pytest.raises(RestoreError) as failed:
            Restoration(tree, BACKUPS, prospect).run(swap, None)
        assert read_journal(BACKUPS) is None
        return str(failed.value)
    finally:
        tree.close()


def swap_in(roots: Path, directory: Path, kind: str) -> None:
    """What the user can do at any moment: root's directory comes to lie where one of his was."""
    directory.rename(directory.with_name("away"))
    if kind == "link":
        directory.symlink_to(roots)
        attacker.give(directory)
    else:
        roots.rename(directory)


def facts_after(roots: Path, directory: Path, kind: str) -> dict[str, tuple[int, int, int, bytes]]:
    """The facts below ``roots``, wherever it was moved."""
    there = roots if kind == "link" else directory
    return {name.replace(str(there), str(roots)): facts for name, facts in facts_below(there).items()}


def victim(*names: str) -> Path:
    """A directory of root's beside the user's, which the user may rename: it lies in one of his."""
    place = attacker.place("x") / "roots"
    place.mkdir()
    for name in ("other", *names):
        (place / name).write_text("root's\n")
    return place


@pytest.mark.parametrize("kind", ["link", "directory"])
@pytest.mark.parametrize("present", [True, False])
@on_a_host_of_its_own
def test_a_directory_that_is_swapped_meanwhile_is_not_written_to(kind: str, present: bool) -> None:
    guide_host()
    directory = attacker.place("x/mine")
    theirs = attacker.write(directory / "zz.sh", "#evil\n")
    above = attacker.write(directory.parent / "app.conf", "# app\n")
    include(theirs, above)
    archive = back_up()
    above.unlink()
    attacker.write(theirs, "#changed\n") if present else theirs.unlink()
    directory.chmod(0o700)
    roots = victim(*(["zz.sh"] if present else []))
    before = facts_below(roots)

    def swap() -> None:
        swap_in(roots, directory, kind)

    restored_while(swap, archive)
    assert facts_after(roots, directory, kind) == before


@pytest.mark.parametrize("kind", ["link", "directory"])
@on_a_host_of_its_own
def test_a_restore_that_was_killed_is_undone_in_no_other_directory(kind: str) -> None:
    guide_host()
    directory = attacker.place("x/mine")
    theirs = attacker.write(directory / "zz.sh", "#evil\n")
    include(theirs)
    archive = back_up()
    attacker.write(theirs, "#changed\n")
    roots = victim("zz.sh")
    before = facts_below(roots)
    tree = NoFollowTree(Path("/"))
    prospect = look(tree, archive, (), (str(theirs),))
    restoration = Restoration(tree, BACKUPS, prospect)
    with (
        mock.patch.object(restoration, "_confirm", side_effect=KeyboardInterrupt),
        mock.patch.object(restoration, "_put_back", return_value="killed"),
        pytest.raises(KeyboardInterrupt),
    ):
        restoration.run(lambda: None, mock.Mock())
    tree.close()
    assert theirs.read_text() == "#evil\n"
    swap_in(roots, directory, kind)
    recovery = recover(BACKUPS)
    assert recovery is not None
    assert recovery.left == (str(theirs),)
    assert facts_after(roots, directory, kind) == before


@on_a_host_of_its_own
def test_a_journal_that_a_user_wrote_is_not_followed() -> None:
    guide_host()
    settings()
    archive = back_up()
    place = attacker.place("root")
    forged = (
        '{"id": "0", "root": "/", "archive": "a", "state": "exchanging", "stages": [], "kept": [{"path": "etc",'
        ' "mode": 511, "uid": 65534, "gid": 65534, "new_mode": 493, "new_uid": 0, "new_gid": 0}]}'
    )
    attacker.write(place / ".gte-ops-restore.json", forged)
    before = Path("/etc").stat()
    ran = gte_ops("backup", "restore", str(archive), "--root", str(place), "--yes")
    assert (Path("/etc").stat().st_uid, Path("/etc").stat().st_mode) == (before.st_uid, before.st_mode)
    assert "no restore of yours wrote it" in ran.stderr


# --- what goes into a backup ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["a link", "its path"])
@on_a_host_of_its_own
def test_no_file_of_roots_is_backed_up_because_a_users_gunicorn_names_it(how: str) -> None:
    guide_host()
    settings()
    group = Path("/etc/group")
    place = group
    if how == "a link":
        place = attacker.place("x") / "gunicorn.conf.py"
        place.symlink_to(group)
        attacker.give(place)
    gunicorn(place)
    assert str(group) not in included(back_up())


@on_a_host_of_its_own
def test_a_users_link_in_a_directory_that_is_backed_up_brings_no_other_file_in_nor_keeps_one_out() -> None:
    guide_host()
    place = attacker.place("x")
    attacker.write(place / "own.conf", "#\n")
    (place / "own").symlink_to("own.conf")
    attacker.give(place / "own")
    for name, target in {"a": "/etc/group", "b": "/etc/nginx/nginx.conf"}.items():
        (place / name).symlink_to(target)
        attacker.give(place / name)
    include(place)
    found = included(back_up())
    assert "/etc/group" not in found
    assert {"/etc/nginx/nginx.conf", str(place / "a"), str(place / "own"), str(place / "own.conf")} <= set(
        found
    )


# --- what `nginx -t` makes is removed again ------------------------------------------------------------------------


@on_a_host_of_its_own
def test_an_empty_log_is_removed_only_where_nobody_else_decides_what_lies_there() -> None:
    theirs, roots = attacker.place("logs"), Path("/srv/roots")
    roots.mkdir()
    (roots / "error.log").touch()
    theirs.rmdir()
    theirs.symlink_to(roots)
    attacker.give(theirs)
    nginx._remove_empty(theirs / "error.log")
    assert (roots / "error.log").exists()
    nginx._remove_empty(roots / "error.log")
    assert not (roots / "error.log").exists()


# --- the harmless twins -----------------------------------------------------------------------------------------------


@on_a_host_of_its_own
def test_a_users_application_with_its_own_links_is_restored() -> None:
    guide_host()
    with Path("/etc/passwd").open("a") as users:
        users.write(f"deploy:x:{OTHER}:{OTHER}::/srv/home/deploy:/bin/sh\n")
    assert pwd.getpwnam("deploy").pw_uid == OTHER
    home = Path("/srv/home/deploy")
    (home / "releases/3").mkdir(parents=True)
    config = home / "releases/3/gunicorn.conf.py"
    config.write_text("bind = '127.0.0.1:8000'\n")
    (home / "current").symlink_to("releases/3")
    for path in (home, home / "releases", home / "releases/3", config, home / "current"):
        attacker.give(path, uid=OTHER)
    include(home / "current/gunicorn.conf.py", home)
    back_up()
    wanted = facts_below(home)
    attacker.write(config, "# broken\n", uid=OTHER)
    (home / "releases/3").chmod(0o700)
    (home / "current").unlink()
    ran = gte_ops("backup", "restore", "--yes")
    assert (ran.returncode, facts_below(home)) == (0, wanted), ran.stdout + ran.stderr
    # Where his link leads to his own directory, what lies behind it is restored too.
    (home / "releases").rename(home / "versions")
    attacker.write(home / "versions/3/gunicorn.conf.py", "# broken\n", uid=OTHER)
    (home / "releases").symlink_to("versions")
    attacker.give(home / "releases", uid=OTHER)
    ran = gte_ops("backup", "restore", "--yes")
    assert (ran.returncode, config.read_text()) == (0, "bind = '127.0.0.1:8000'\n"), ran.stdout + ran.stderr
    assert (home / "versions/3/gunicorn.conf.py").stat().st_uid == OTHER


@on_a_host_of_its_own
def test_a_users_file_that_is_gone_is_restored_as_the_users() -> None:
    guide_host()
    settings()
    theirs = attacker.write(attacker.place("x") / "gunicorn.conf.py", "# mine\n")
    gunicorn(theirs)
    back_up()
    theirs.unlink()
    ran = gte_ops("backup", "restore", "--yes")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (theirs.read_text(), theirs.stat().st_uid) == ("# mine\n", attacker.UID)


@on_a_host_of_its_own
def test_roots_links_are_followed_wherever_they_lead() -> None:
    guide_host()
    settings()
    available, enabled = Path("/etc/nginx/sites-available"), Path("/etc/nginx/sites-enabled")
    available.mkdir(exist_ok=True)
    enabled.mkdir(exist_ok=True)
    (available / "app").write_text("# app\n")
    (enabled / "app").symlink_to("../sites-available/app")
    back_up()
    wanted = facts_below(Path("/etc/letsencrypt"))
    subprocess.run(["mv", "/etc/letsencrypt", "/srv/letsencrypt"], check=True)
    Path("/etc/letsencrypt").symlink_to("/srv/letsencrypt")
    (available / "app").write_text("# changed\n")
    (enabled / "app").unlink()
    for key in Path("/srv/letsencrypt/archive").rglob("privkey*.pem"):
        key.write_text("lost")
    ran = gte_ops("backup", "restore", "--yes")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (enabled / "app").read_text() == "# app\n"
    found = {
        name.replace("/srv/", "/etc/"): facts for name, facts in facts_below(Path("/srv/letsencrypt")).items()
    }
    assert found == wanted


@on_a_host_of_its_own
def test_a_service_whose_unit_names_roots_configuration_has_it_backed_up() -> None:
    guide_host()
    settings()
    config = Path("/srv/app/gunicorn.conf.py")
    config.parent.mkdir()
    config.write_text("bind = '127.0.0.1:8000'\n")
    gunicorn(config)
    unit = Path("/etc/systemd/system/gte-api.service")
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(
        "[Service]\nUser=nobody\nWorkingDirectory=/srv/app\nExecStart=/x/gunicorn -c gunicorn.conf.py app\n"
    )
    assert included(back_up())[str(config)] == 0
