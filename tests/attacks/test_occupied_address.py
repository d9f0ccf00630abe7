"""Anybody may listen at the service's address while it is free: another's gunicorn there is not the service.

It is neither called healthy, remembered, signalled nor written into a pidfile; the service's own
is, whoever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.attacks import attacker
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import Service, as_user, comes_back, look, supervised
from tests.lab.waiting import wait_for
from tests.lab.watched import FAILING, HEALTHY, RECOVERED, told

SERVICE_USER, TENANT = 1000, 1001
SQUATTER = """
def app(environ, start):
    start("200 OK", [("Content-Type", "application/json")])
    return [b'{"status": "ok"}']
"""
# Binds the path of its argument in its own tree, under any title.
BINDS_A_PATH = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(5)
print("bound", flush=True)
time.sleep(1000)
"""
BECOMES_ROOT = "#include <unistd.h>\nint main(){setresgid(0,0,0);setresuid(0,0,0);for(;;)pause();}"


def gone(service: Service) -> None:
    """The service's master and workers are killed."""
    master = psutil.Process(int(service.gunicorn_pidfile.read_text()))
    everyone = [master, *master.children(recursive=True)]
    for process in everyone:
        process.kill()
    psutil.wait_procs(everyone, 5)


def gunicorn_of(uid: int, service: Service, bind: str) -> psutil.Process:
    """Another user's gunicorn at ``bind``, with a worker."""
    home = service.directory / "another"
    home.mkdir()
    (home / "app.py").write_text(SQUATTER)
    os.chown(home, uid, uid)
    command = (sys.executable, "-m", "gunicorn", "--bind", bind, "--no-control-socket", "app:app")
    other = psutil.Process(service.spawn(*as_user(uid), *command, cwd=home))
    wait_for(lambda: bool(other.children()), "the other gunicorn's worker")
    service.wait_until_listening(bind)
    return other


@pytest.mark.parametrize("uid", [attacker.UID, TENANT], ids=["an attacker's", "a tenant's"])
@on_a_host_of_its_own
def test_another_user_s_gunicorn_at_the_address_is_left_alone_and_is_not_the_service(uid: int) -> None:
    with supervised(SERVICE_USER) as up:
        remembered = (up.state / "watchdog-launch.json").read_text()
        gone(up)
        other = gunicorn_of(uid, up, up.config["gunicorn"]["bind"])
        workers = other.children()
        for _ in range(4):
            round_ = look(up)
            assert round_.exit_code == FAILING, told(round_)
        assert all(process.is_running() and process.status() != "zombie" for process in (other, *workers))
        assert (up.state / "watchdog-launch.json").read_text() == remembered
        report = up.doctor()
        assert report.first == "GUN012", report.codes
        up.doctor("--fix", "--yes")
        assert up.gunicorn_pidfile.read_text().strip() != str(other.pid)
        for process in (other, *workers):
            process.kill()
        comes_back(up)


@pytest.mark.parametrize("keys", ["config_file", "config_file and dir", "dir"])
@on_a_host_of_its_own
def test_a_service_of_its_own_user_is_found_where_all_its_files_are_root_s(keys: str) -> None:
    with Service(SERVICE_USER) as up:
        for path in (up.app_dir, *up.app_dir.rglob("*")):
            os.chown(path, 0, 0)
        own = up.config["gunicorn"]
        own.pop("bind")
        own.pop("pidfile")
        up.config["app"].pop("progress_dir", None)
        if "config_file" not in keys:
            own.pop("config_file")
        if "dir" not in keys:
            up.config["app"].pop("dir")
        up.write_config()
        round_ = look(up)
        assert round_.exit_code == HEALTHY, told(round_)


@pytest.mark.parametrize("title", ["gunicorn", "anything"])
@on_a_host_of_its_own
def test_a_socket_in_another_mount_namespace_is_not_at_the_service_s_path(title: str) -> None:
    with supervised(SERVICE_USER, unix_socket=True) as up:
        path = Path(up.config["gunicorn"]["bind"].removeprefix("unix:"))
        script = attacker.write(
            attacker.place("u") / ("gunicorn" if title == "gunicorn" else "x.py"), BINDS_A_PATH
        )
        # What a user does by `unshare --user --map-root-user --mount`, done by root: not every machine lets users.
        inside = (
            f"mount -t tmpfs tmpfs {path.parent} && chmod 777 {path.parent}"
            f" && exec setpriv --reuid={attacker.UID} --regid={attacker.UID} --clear-groups"
            f" {sys.executable} {script} {path}"
        )
        decoy = subprocess.Popen(["unshare", "--mount", "bash", "-c", inside], stdout=subprocess.PIPE)
        assert decoy.stdout is not None
        decoy.stdout.readline()
        gone(up)
        rounds = []
        wait_for(
            lambda: rounds.append(look(up)) or rounds[-1].exit_code in (HEALTHY, RECOVERED),  # type: ignore[func-returns-value]
            "the service to be back",
            within=25,
            every=0.3,
        )
        assert up.predict().status == 200
        assert decoy.poll() is None
        decoy.kill()


@on_a_host_of_its_own
def test_a_set_user_id_program_under_gunicorn_s_title_is_not_the_service() -> None:
    program = Path("/usr/local/bin/asks")
    subprocess.run(["gcc", "-x", "c", "-", "-o", program], input=BECOMES_ROOT, text=True, check=True)
    program.chmod(0o4755)
    with supervised(0) as up:
        gone(up)
        words = ["gunicorn: master [app]", f"--config={up.gunicorn_conf}"]
        decoy = subprocess.Popen(
            words, executable=str(program), user=attacker.UID, group=attacker.UID, extra_groups=[], cwd="/"
        )
        wait_for(lambda: "Uid:\t0" in Path(f"/proc/{decoy.pid}/status").read_text(), "it to be root")
        comes_back(up)
        assert decoy.poll() is None
        decoy.kill()
