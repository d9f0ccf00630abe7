"""What another user can put in a file's place is no reason to wait for ever, nor to read what only root may."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import ROUND_SECONDS, Service, comes_back, look, own, supervised

SECRET = "the combination is 4711 left 0815 right"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def pipe_by_a_link(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    own(path.with_name("pipe"), attacker.UID)
    path.symlink_to("pipe")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def directory(path: Path) -> None:
    path.mkdir()


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "pipe by a link": pipe_by_a_link,
    "socket": unix_socket,
    "/dev/zero": endless_device,
    "directory": directory,
    "link to itself": link_to_itself,
}


def put(kind: str, path: Path) -> None:
    """Something that is no regular file, in the place of ``path``, the service's user's."""
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    own(path, attacker.UID)


# gunicorn itself logs elsewhere and keeps no other pidfile: these the settings name, and the user made them.
NAMED = {"error log": "error_log", "access log": "access_log", "pidfile": "pidfile"}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("error log", "pipe"),
        pytest.param("error log", "pipe by a link", marks=pytest.mark.long),
        pytest.param("error log", "socket", marks=pytest.mark.long),
        ("access log", "pipe"),
        ("pidfile", "pipe"),
        ("pidfile", "/dev/zero"),
        pytest.param("pidfile", "socket", marks=pytest.mark.long),
        pytest.param("pidfile", "link to itself", marks=pytest.mark.long),
        ("own pidfile", "pipe"),
        ("progress record", "pipe"),
    ],
)
@on_a_host_of_its_own
def test_the_watchdog_ends_in_time_and_the_service_comes_back(place: str, kind: str) -> None:
    named = {NAMED[place]: "named"} if place in NAMED else {}
    with supervised(attacker.UID, named=named) as service:
        service.kill_gunicorn()
        if place == "own pidfile":
            put(kind, service.gunicorn_pidfile)
        elif place == "progress record":
            put(kind, service.progress_dir / f"{os.getpid()}.json")
        else:
            put(kind, service.own / "named")
        for ran in comes_back(service):
            assert ran.seconds < ROUND_SECONDS / 2


# --- what the evidence holds ------------------------------------------------------------------------------------------


def kept(service: Service) -> str:
    """Everything in the watchdog's evidence, state and output."""
    files = (path for path in service.state.rglob("*") if path.is_file())
    assert list(service.state.glob("watchdog-evidence/*/*")), "no evidence was kept"
    return "\n".join(path.read_text(errors="replace") for path in files)


def secret_file() -> Path:
    """A file that root alone may read."""
    path = Path("/root/combination.txt")
    path.write_text(f"{SECRET}\n" * 20)
    path.chmod(0o600)
    return path


def by_a_link(log: Path) -> None:
    log.unlink(missing_ok=True)
    log.symlink_to(secret_file())
    own(log, attacker.UID)


def by_a_link_in_the_middle(log: Path) -> None:
    """The directory is a link, the file in it is what its name says."""
    secret = secret_file()
    secret = secret.rename(secret.with_name(log.name))
    log.parent.rename(log.parent.with_name("moved"))
    log.parent.symlink_to(secret.parent)
    own(log.parent, attacker.UID)


def by_a_hard_link(log: Path) -> None:
    """As a kernel without fs.protected_hardlinks lets anybody make one."""
    log.unlink(missing_ok=True)
    secret = Path(log.parent.parent / "combination.txt")
    secret.write_text(f"{SECRET}\n" * 20)
    secret.chmod(0o600)
    log.hardlink_to(secret)


LINKS = {
    "by a link": by_a_link,
    "by a link in the middle": by_a_link_in_the_middle,
    "by a hard link": by_a_hard_link,
}


@pytest.mark.parametrize(
    ("named", "how"),
    [
        ("by the settings", "by a link"),
        ("by gunicorn", "by a link"),
        ("by the settings", "by a link in the middle"),
        pytest.param("by gunicorn", "by a link in the middle", marks=pytest.mark.long),
        pytest.param("by the settings", "by a hard link", marks=pytest.mark.long),
        ("by gunicorn", "by a hard link"),
    ],
)
@on_a_host_of_its_own
def test_evidence_holds_nothing_of_a_file_that_the_services_user_may_not_read(named: str, how: str) -> None:
    with supervised(attacker.UID, named={"error_log": "error.log"}) as service:
        log = service.own / "error.log"
        if named == "by gunicorn":
            del service.config["gunicorn"]["error_log"]
            service.write_config()
            service.stop_gunicorn()
            service.log_to(log)
            service.start_gunicorn()
            look(service)
        LINKS[how](log)
        service.kill_gunicorn()
        service.log_to(service.gunicorn_error_log)
        comes_back(service)
        assert SECRET not in kept(service)


@on_a_host_of_its_own
def test_evidence_holds_nothing_of_a_root_only_file_that_gunicorn_names_outright() -> None:
    with supervised(attacker.UID) as service:
        secret = secret_file()
        service.kill_gunicorn()
        # A title is anybody's: this process has the service's configuration, and says where its log is.
        program = attacker.program(attacker.place() / "python3")
        words = ["/usr/bin/python3", "/usr/bin/gunicorn", "-c", str(service.gunicorn_conf)]
        attacker.start(program, [*words, "--error-logfile", str(secret), "app:app"], cwd=service.app_dir)
        del service.config["gunicorn"]["error_log"]
        service.write_config()
        comes_back(service)
        assert SECRET not in kept(service)


@pytest.mark.parametrize("uid", [0, attacker.UID], ids=["root's", "its own user's"])
@on_a_host_of_its_own
def test_evidence_holds_the_end_of_the_services_own_log(uid: int) -> None:
    with supervised(uid) as service:
        with service.gunicorn_error_log.open("a") as log:
            log.write(f"{SECRET}\n")
        service.kill_gunicorn()
        comes_back(service)
        assert SECRET in kept(service)
