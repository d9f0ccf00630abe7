"""root repairs nothing on a user's word that the user could not have done: no file is given away, written or copied."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import gte_ops, guide_host, start_nginx
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import Service, look, own, supervised
from tests.lab.waiting import wait_for
from tests.lab.watched import HEALTHY

RULES = Path("/etc/logrotate.d/gte-api")
PRECIOUS = Path("/root/precious")
REPAIRS = {
    "doctor --fix": ("doctor", "--fix", "--yes"),
    "doctor --fix=risky": ("doctor", "--fix=risky", "--yes"),
    "render": ("render", "logrotate", "--install"),
}


def gunicorn_says(*options: str, cwd: Path = Path("/"), uid: int = attacker.UID) -> int:
    """A process that looks like the host's gunicorn, as a user's; its command line has ``options``."""
    program = attacker.program(attacker.place() / "python3")
    words = ["/usr/bin/python3", "/usr/bin/gunicorn", *options, "app:app"]
    return attacker.start(program, words, cwd=cwd, uid=uid)


def root_only(path: Path, *, mode: int = 0o600, text: str = "root's\n") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def another_users(path: Path) -> Path:
    return own(root_only(path), 65533)


def by_a_link(path: Path) -> Path:
    link = attacker.place() / "error.log"
    link.symlink_to(root_only(path))
    attacker.give(link)
    return link


def by_a_linked_directory(path: Path) -> Path:
    root_only(path)
    link = attacker.place() / "logs"
    link.symlink_to(path.parent)
    attacker.give(link)
    return link / path.name


def climbing(path: Path) -> Path:
    return Path(f"{attacker.place()}/../..{root_only(path)}")


def hard_linked(path: Path) -> Path:
    """As a kernel without fs.protected_hardlinks lets anybody make one, within a file system."""
    link = attacker.place() / "error.log"
    link.hardlink_to(root_only(Path("/srv") / path.name))
    return link


def not_there_yet(path: Path) -> Path:
    return path.with_name("new.log")


NAMED = {
    "root's": root_only,
    "another user's": another_users,
    "by a link": by_a_link,
    "by a linked directory": by_a_linked_directory,
    "climbing": climbing,
    "hard-linked": hard_linked,
    "not there yet": not_there_yet,
}


def rules() -> list[str]:
    """The words of our rules, comments left out."""
    lines = RULES.read_text().splitlines() if RULES.exists() else []
    return [word.strip('"') for line in lines if not line.lstrip().startswith("#") for word in line.split()]


def rotated() -> None:
    """What the nightly run of logrotate makes of the rules, at its worst."""
    if RULES.exists():
        subprocess.run(
            ["logrotate", "--force", "--state", "/run/rotated", str(RULES)], capture_output=True, check=False
        )


SAMPLE = ("root's", "another user's", "by a link", "climbing")


@pytest.mark.parametrize(
    ("named", "option"),
    [
        *(
            pytest.param(named, "--error-logfile", marks=() if named in SAMPLE else pytest.mark.long)
            for named in NAMED
        ),
        ("root's", "--access-logfile"),
    ],
)
@on_a_host_of_its_own
def test_no_rule_is_made_for_a_file_that_its_writer_does_not_own(named: str, option: str) -> None:
    guide_host()
    start_nginx()
    log = NAMED[named](PRECIOUS)
    gunicorn_says(option, str(log))
    real = Path("/srv/precious") if named == "hard-linked" else PRECIOUS
    before = facts(real)
    for repair in ("doctor --fix=risky", "render"):
        gte_ops(*REPAIRS[repair])
        assert not {str(log), str(real)} & set(rules()), repair
    rotated()
    assert facts(real) == before
    assert not list(real.parent.glob("*.log*"))


def facts(path: Path) -> tuple[object, ...] | None:
    """What must stay: content, owner, mode, the file itself."""
    if not path.exists():
        return None
    status = path.stat()
    return (path.read_text(), status.st_uid, status.st_gid, status.st_mode, status.st_ino)


@on_a_host_of_its_own
def test_a_logs_name_is_no_rule() -> None:
    guide_host()
    start_nginx()
    name = "a.log {\n} /x\n{ postrotate\n /usr/bin/touch /root/owned\nendscript\n}\n/b.log"
    log = attacker.place() / name
    log.parent.mkdir(parents=True)
    attacker.write(log, "x\n")
    gunicorn_says("--error-logfile", str(log))
    for repair in REPAIRS.values():
        gte_ops(*repair)
        rotated()
        assert attacker.owned() == []


@pytest.mark.parametrize(
    ("how", "content"),
    [
        pytest.param("outright", "4711\n", id="a number"),
        pytest.param("outright", "no number\n", id="text"),
        pytest.param("outright", "", id="empty", marks=pytest.mark.long),
        pytest.param("by a link", "4711\n", id="by a link"),
    ],
)
@on_a_host_of_its_own
def test_no_file_that_a_pid_option_names_is_overwritten_or_removed(how: str, content: str) -> None:
    guide_host()
    start_nginx()
    root_only(PRECIOUS, text=content)
    pidfile = PRECIOUS
    if how == "by a link":
        pidfile = attacker.place() / "gunicorn.pid"
        pidfile.symlink_to(PRECIOUS)
        attacker.give(pidfile)
    gunicorn_says("--pid", str(pidfile))
    before = facts(PRECIOUS)
    gte_ops(*REPAIRS["doctor --fix=risky"])
    assert facts(PRECIOUS) == before


def fix(service: Service, *arguments: str) -> str:
    """`doctor --fix` below the stack's keeper; what it said."""
    output = service.directory / f"fix-{time.monotonic_ns()}.log"
    command = service.gte_ops_command("doctor", "--config", str(service.config_file), *arguments)
    pid = service.keeper.spawn(command, cwd=service.directory, env=service.environment(), output=output)
    wait_for(lambda: service.keeper.exit_code(pid) is not None, "--fix to end", within=60)
    return output.read_text()


PRELOADING = {"layout": "guide", "traps": ["preload"]}
RENAMES = ("--fix=risky", "--yes", "--only", "GUN008")


@on_a_host_of_its_own
def test_no_copy_is_kept_through_a_link_that_was_laid_beforehand() -> None:
    with supervised(attacker.UID, **PRELOADING) as service:
        conf = own(service.gunicorn_conf, attacker.UID)
        # A copy is dated: one link for each second of the next minutes, and each number of that second.
        for second in range(180):
            stamp = time.strftime("%Y%m%dT%H%M%S", time.localtime(time.time() + second))
            for name in (f".{conf.name}.{stamp}~", f"{conf.name}.{stamp}~", f".{conf.name}.{stamp}-2~"):
                (conf.parent / name).symlink_to(f"/root/planted-{name}")
                own(conf.parent / name, attacker.UID)
        said = fix(service, *RENAMES)
        assert not list(Path("/root").glob("planted*")), said


@on_a_host_of_its_own
def test_a_configuration_of_roots_is_not_edited_because_a_users_file_leads_to_it() -> None:
    with supervised(attacker.UID, **PRELOADING) as service:
        conf = service.gunicorn_conf
        target = Path("/root/gunicorn.conf.py")
        target.write_text(conf.read_text())
        conf.unlink()
        conf.symlink_to(target)
        own(conf, attacker.UID)
        before = facts(target)
        said = fix(service, *RENAMES)
        assert facts(target) == before, said
        assert not list(Path("/root").glob("*~")), said


# --- the harmless twins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", ["doctor --fix", "render"])
@pytest.mark.parametrize("place", ["its own directory", "/var/log"])
@on_a_host_of_its_own
def test_a_rule_is_made_for_logs_that_the_services_user_owns(place: str, repair: str) -> None:
    guide_host()
    start_nginx()
    directory = attacker.place("logs") if place == "its own directory" else Path("/var/log")
    log = attacker.write(directory / "gte-gunicorn-error.log", "x\n")
    gunicorn_says("--error-logfile", str(log))
    ran = gte_ops(*REPAIRS[repair])
    assert str(log) in rules(), ran.stdout + ran.stderr
    rotated()
    assert log.stat().st_uid == attacker.UID


@on_a_host_of_its_own
def test_a_rule_is_made_for_logs_of_a_service_of_roots() -> None:
    guide_host()
    start_nginx()
    log = root_only(Path("/var/log/gte-gunicorn-error.log"))
    gunicorn_says("--error-logfile", str(log), uid=0)
    gte_ops(*REPAIRS["doctor --fix"])
    assert str(log) in rules()


@pytest.mark.parametrize("uid", [0, attacker.UID], ids=["root's", "its own user's"])
@on_a_host_of_its_own
def test_the_pidfile_of_the_service_is_put_right(uid: int) -> None:
    with supervised(uid) as service:
        assert service.gunicorn_master is not None
        right = service.gunicorn_master.pid
        service.gunicorn_pidfile.write_text("4194000\n")
        said = fix(service, "--fix", "--yes")
        assert service.gunicorn_pidfile.read_text().strip() == str(right), said
        assert service.gunicorn_pidfile.stat().st_uid == uid


@on_a_host_of_its_own
def test_a_setting_of_a_configuration_of_roots_is_put_right_and_a_copy_kept() -> None:
    with supervised(**PRELOADING) as service:  # type: ignore[arg-type]
        conf = service.gunicorn_conf
        said = fix(service, *RENAMES)
        assert "preload_app = True" in conf.read_text(), said
        (copy,) = conf.parent.glob(".gunicorn.conf.py.*~")
        assert "preload = True" in copy.read_text()
        assert look(service).exit_code == HEALTHY


@on_a_host_of_its_own
def test_a_setting_of_a_users_configuration_is_put_right_or_its_owner_is_told_how() -> None:
    with supervised(attacker.UID, **PRELOADING) as service:
        conf = own(service.gunicorn_conf, attacker.UID)
        said = fix(service, *RENAMES)
        assert "preload_app = True" in conf.read_text() + said, said
        assert conf.stat().st_uid == attacker.UID
        assert look(service).exit_code == HEALTHY
