"""What root writes, renames, rotates or signals on the word of another user's gunicorn: nothing that it could not do.

The gunicorn is a process of the attacker's that looks like one and names what it likes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import CONFIG, codes, gte_ops, report
from tests.attacks.namespaces import on_a_host_of_its_own

RULE = Path("/etc/logrotate.d/gte-api")
SECRET = "root:$6$secret\n"
ROUTES = {
    "render": ("render", "logrotate", "--install"),
    "--fix": ("doctor", "--fix", "--yes", "--only", "OPS001"),
}


def gunicorn(*options: str, uid: int = attacker.UID) -> int:
    """A process of a user's that looks like gunicorn; its pid."""
    program = Path("/usr/local/bin/gunicorn-decoy")
    if not program.exists():
        attacker.program(program, uid=0)
    return attacker.start(program, ["python3", "/usr/bin/gunicorn", *options], uid=uid, cwd="/srv")


def settings(text: str = "") -> None:
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(text)


def roots_file(path: Path = Path("/root/only")) -> Path:
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def log_of(uid: int, path: Path, *, mode: int = 0o640) -> Path:
    path.write_text("a line\n")
    path.chmod(mode)
    os.chown(path, uid, uid)
    return path


def rotate() -> str:
    """By the real logrotate, with the rule as it is; nothing where there is none."""
    if not RULE.exists():
        return ""
    ran = subprocess.run(
        ["logrotate", "-f", "-s", "/root/rotated", str(RULE)], capture_output=True, text=True, check=False
    )
    return ran.stderr


def rotated(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def facts(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.read_text(), status.st_uid, status.st_mode & 0o777


# --- rotation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("option", ["--error-logfile", "--access-logfile"])
@on_a_host_of_its_own
def test_no_gunicorn_has_a_file_of_roots_given_away(route: str, option: str) -> None:
    settings()
    victim = roots_file()
    log = log_of(attacker.UID, Path("/var/log/gte.log"))
    other = "--access-logfile" if option == "--error-logfile" else "--error-logfile"
    gunicorn(option, str(victim), other, str(log))
    ran = gte_ops(*ROUTES[route])
    said = rotate()
    assert facts(victim) == (SECRET, 0, 0o600), ran.stdout + ran.stderr
    assert not rotated(victim).exists()
    assert f"{victim} is not rotated: user {attacker.UID} names a file of user 0" in ran.stdout + ran.stderr
    # The rest goes on.
    assert rotated(log).exists(), f"{ran.stdout}{ran.stderr}{said}"


WAYS = ("a link", "a link to a directory", "a hard link", "a link laid later", "a directory exchanged later")


@pytest.mark.parametrize("way", WAYS)
@on_a_host_of_its_own
def test_no_path_of_a_users_leads_roots_logrotate_to_a_file_of_roots(way: str) -> None:
    settings()
    victim = roots_file()
    folder = attacker.place("logs")
    named = folder / victim.name
    if way == "a link":
        attacker.give(_link(named, victim))
    elif way == "a link to a directory":
        named = attacker.give(_link(folder / "on", victim.parent)) / victim.name
    elif way == "a hard link":
        victim = roots_file(Path("/srv/attacker/roots"))
        os.link(victim, named)
    else:
        log_of(attacker.UID, named)
    gunicorn("--error-logfile", str(named))
    gte_ops("render", "logrotate", "--install")
    if way == "a link laid later":
        named.unlink()
        attacker.give(_link(named, victim))
    if way == "a directory exchanged later":
        folder.rename(folder.with_name("gone"))
        attacker.give(_link(folder, victim.parent))
    rotate()
    assert facts(victim) == (SECRET, 0, 0o600)
    assert not rotated(victim).exists()


def _link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(
    "name", ["*", "[a-z]*", "x /root/only", "x\n/root/only {\n}\n", '"', "x'", "a{b", "a}", "a#b", "~*"]
)
@on_a_host_of_its_own
def test_a_name_never_becomes_logrotates_syntax(name: str) -> None:
    settings()
    victim = roots_file()
    folder = attacker.place("logs")
    for path in (folder / name.replace("/", "_"), folder / "innocent"):
        log_of(attacker.UID, path)
    gunicorn("--error-logfile", f"{folder}/{name}")
    ran = gte_ops("render", "logrotate", "--install")
    assert ran.returncode == 0, ran.stderr
    assert not [line for line in rotate().splitlines() if line.startswith("error")]
    assert facts(victim) == (SECRET, 0, 0o600)
    assert not rotated(folder / "innocent").exists()
    assert "is not rotated" in ran.stderr


# What the service's user and root have as logs everywhere: (whose gunicorn, whose directory and mode, whose log).
TWINS = {
    "its own log in root's directory": (attacker.UID, "/var/log", 0, 0o755, attacker.UID),
    "its own log in its own directory": (attacker.UID, "/var/log/gte-api", attacker.UID, 0o750, attacker.UID),
    "its own log where everybody writes": (attacker.UID, "/srv/everybody", 0, 0o1777, attacker.UID),
    "root's": (0, "/var/log", 0, 0o755, 0),
    "root's, in a directory of its own": (0, "/var/log/gte-api", 0, 0o750, 0),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("twin", TWINS)
@on_a_host_of_its_own
def test_a_service_has_its_own_log_rotated_and_keeps_it(twin: str, route: str) -> None:
    settings()
    uid, directory, owner, mode, whose = TWINS[twin]
    folder = Path(directory)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    log = log_of(whose, folder / "gte-error.log")
    gunicorn("--error-logfile", str(log), uid=uid)
    ran = gte_ops(*ROUTES[route])
    said = rotate()
    assert rotated(log).read_text() == "a line\n", f"{ran.stdout}{ran.stderr}{said}"
    assert facts(log) == ("", whose, 0o640)
    assert "OPS001" not in codes(report("--only", "OPS001"))


@on_a_host_of_its_own
def test_a_log_that_settings_name_is_rotated_and_keeps_its_owner() -> None:
    log = log_of(0, Path("/var/log/named.log"), mode=0o600)
    settings(f'[gunicorn]\nerror_log = "{log}"\n')
    gunicorn()
    gte_ops("render", "logrotate", "--install")
    rotate()
    assert rotated(log).exists()
    assert facts(log) == ("", 0, 0o600)


@pytest.mark.parametrize("whose", [0, attacker.UID], ids=["root's", "its own"])
@on_a_host_of_its_own
def test_rotation_signals_no_process_that_the_pidfiles_owner_could_not(whose: int) -> None:
    settings()
    log = log_of(attacker.UID, Path("/var/log/gte.log"))
    folder = attacker.place("run")
    pidfile = attacker.write(folder / "gunicorn.pid", "0\n")
    gunicorn("--error-logfile", str(log), "--pid", str(pidfile))
    # USR1 ends what does not expect it.
    named = subprocess.Popen(
        ["tail", "-f", "/dev/null", "--pid=1", "--", "gunicorn.log"], user=whose, group=whose
    )
    pidfile.write_text(f"{named.pid}\n")
    try:
        gte_ops("render", "logrotate", "--install")
        rotate()
        assert rotated(log).exists()
        # The first of two signals ends it.
        named.terminate()
        assert named.wait() == (-signal.SIGTERM if whose == 0 else -signal.SIGUSR1)
    finally:
        named.kill()
        named.wait()


@on_a_host_of_its_own
def test_a_rotation_never_waits_for_a_pidfile_that_is_a_pipe() -> None:
    settings()
    log = log_of(attacker.UID, Path("/var/log/gte.log"))
    pidfile = attacker.place("run") / "gunicorn.pid"
    gunicorn("--error-logfile", str(log), "--pid", str(pidfile))
    gte_ops("render", "logrotate", "--install")
    os.mkfifo(pidfile)
    attacker.give(pidfile)
    rotate()
    assert rotated(log).exists()


# --- pidfiles ---------------------------------------------------------------------------------------------------------


def fix_pidfile() -> subprocess.CompletedProcess[str]:
    return gte_ops("doctor", "--fix=risky", "--yes", "--only", "GUN002")


@pytest.mark.parametrize("content", ["1\n", SECRET], ids=["a number", "no number"])
@pytest.mark.parametrize("way", ["named outright", "through a link", "through a directory"])
@on_a_host_of_its_own
def test_no_gunicorn_has_a_file_of_roots_overwritten_as_its_pidfile(content: str, way: str) -> None:
    settings()
    victim = roots_file()
    victim.write_text(content)
    folder = attacker.place("run")
    named = victim
    if way == "through a link":
        named = attacker.give(_link(folder / victim.name, victim))
    elif way == "through a directory":
        named = attacker.give(_link(folder / "on", victim.parent)) / victim.name
    gunicorn("--pid", str(named))
    ran = fix_pidfile()
    assert facts(victim) == (content, 0, 0o600), ran.stdout + ran.stderr
    assert [path.name for path in victim.parent.glob(".only*")] == []
    # Nobody is told to type it either, but as that user.
    typed = [line for line in ran.stdout.splitlines() if "echo" in line and str(named) in line]
    assert all("runuser -u nobody -- " in line for line in typed), ran.stdout


PIDFILES = {
    "its own in its own directory": (attacker.UID, "/run/gte-api", attacker.UID, 0o755, attacker.UID),
    "its own where everybody writes": (attacker.UID, "/srv/everybody", 0, 0o1777, attacker.UID),
    "root's": (0, "/run", 0, 0o755, 0),
}


@pytest.mark.parametrize("twin", PIDFILES)
@on_a_host_of_its_own
def test_a_services_own_stale_pidfile_is_corrected_and_keeps_its_owner(twin: str) -> None:
    settings()
    uid, directory, owner, mode, whose = PIDFILES[twin]
    folder = Path(directory)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    pidfile = log_of(whose, folder / "gte.pid", mode=0o644)
    pidfile.write_text("4194000\n")
    pid = gunicorn("--pid", str(pidfile), uid=uid)
    ran = fix_pidfile()
    assert facts(pidfile) == (f"{pid}\n", whose, 0o644), ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_a_pidfile_that_settings_name_is_removed_where_gunicorn_does_not_keep_it() -> None:
    folder = Path("/run/gte-api")
    folder.mkdir()
    attacker.give(folder)
    pidfile = attacker.write(folder / "gte.pid", "4194000\n")
    settings(f'[app]\ndir = "/srv"\n[gunicorn]\npidfile = "{pidfile}"\n')
    gunicorn()
    ran = fix_pidfile()
    assert not pidfile.exists(), ran.stdout + ran.stderr


# --- what is installed and written down ------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["another user's", "everybody may write it", "a link of another user's"])
@on_a_host_of_its_own
def test_nothing_is_installed_where_others_have_a_say(why: str) -> None:
    victim = roots_file()
    folder = attacker.place("etc") if why == "another user's" else attacker.shared("etc", mode=0o777)
    rule = folder / "gte-api"
    if why == "a link of another user's":
        folder.chmod(0o755)
        attacker.give(_link(rule, victim))
    settings(f'[logrotate]\nconfig_files = ["{rule}"]\n')
    ran = gte_ops("render", "logrotate", "--install")
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "nothing was changed" in ran.stderr
    assert facts(victim) == (SECRET, 0, 0o600)
    assert [path.name for path in folder.iterdir()] == ([rule.name] if rule.is_symlink() else [])


@on_a_host_of_its_own
def test_the_repair_keeps_no_copy_through_a_link_laid_beforehand() -> None:
    made = Path("/root/made")
    folder = attacker.place("app")
    conf = attacker.write(folder / "gunicorn.conf.py", "preload = True\n")
    for second in range(60):
        stamp = time.strftime("%Y%m%dT%H%M%S", time.localtime(time.time() + second))
        for dot in ("", "."):
            attacker.give(_link(folder / f"{dot}{conf.name}.{stamp}~", made))
    settings('[gunicorn]\nstart_command = ["/bin/false"]\n')
    gunicorn("-c", str(conf))
    ran = gte_ops("doctor", "--fix=risky", "--yes", "--only", "GUN008")
    assert not made.exists(), ran.stdout + ran.stderr
    assert conf.read_text() == "preload = True\n"
    assert f"{conf.parent.parent} belongs to user {attacker.UID}" in ran.stdout
    # Its owner is told what to change.
    assert "+preload_app = True" in ran.stdout


@on_a_host_of_its_own
def test_without_a_log_in_a_directory_of_roots_the_repair_does_nothing() -> None:
    state = attacker.place("state")
    victim = roots_file()
    attacker.give(_link(state / "fix-start-output.log", victim))
    pidfile = Path("/run/gte.pid")
    pidfile.write_text("4194000\n")
    settings(
        f'[app]\ndir = "/srv"\n[watchdog]\nstate_file = "{state}/watchdog.json"\n'
        f'[gunicorn]\npidfile = "{pidfile}"\n'
    )
    gunicorn(uid=0)
    ran = fix_pidfile()
    assert ran.returncode == 3
    assert "belongs to user" in ran.stderr
    assert pidfile.exists()
    assert not (state / "fix.jsonl").exists()
