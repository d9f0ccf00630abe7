"""A service that was started by hand with an API key file is never started again without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import BACK_WITHIN, Service, comes_back, look
from tests.lab.waiting import wait_for
from tests.lab.watched import HEALTHY, RECOVERED, told

VARIABLE = "GTE_API_KEYS_FILE"


def keys(path: Path) -> Path:
    """A file of API keys with one in it."""
    command = [sys.executable, "-m", "service.keys", "--file", str(path), "create", "somebody"]
    subprocess.run(command, check=True, capture_output=True)
    path.chmod(0o644)
    return path


def of_cron(service: Service) -> dict[str, str]:
    """What cron starts a command with: nothing that somebody exported in a shell."""
    kept = ("PATH", "PYTHONPATH", "LC_ALL")
    return {name: value for name, value in service.environment().items() if name in kept}


@contextmanager
def with_keys(uid: int = 0) -> Iterator[Service]:
    """The service itself, started with keys in a shell; the watchdog runs from cron."""
    file = keys(Path("/srv/lab/keys"))
    environment = {VARIABLE: str(file), "GTE_THREADS": "1"}
    with Service(uid, app=None, service_environment=environment) as service:
        # Loading models takes a while on a machine that does other things too.
        service.config["app"]["boot_deadline"] = "20s"
        service.write_config()
        assert predicts(service) == 401
        yield service


def predicts(service: Service) -> int | None:
    """The status of a prediction without a key."""
    return service.predict(door="backend", timeout=5.0).status


def remembered(service: Service) -> list[Path]:
    """The watchdog's files that hold the name of the variable."""
    files = (path for path in service.state.rglob("*") if path.is_file())
    return [path for path in files if VARIABLE in path.read_text(errors="replace")]


@pytest.mark.parametrize("uid", [0, attacker.UID], ids=["root's", "its own user's"])
@on_a_host_of_its_own
def test_a_restart_from_cron_keeps_the_keys_or_is_no_recovery(uid: int) -> None:
    with with_keys(uid) as service:
        first = look(service, environment=of_cron(service))
        assert first.exit_code == HEALTHY, told(first)
        for path in remembered(service):
            assert path.stat().st_mode & 0o077 == 0, path
        service.kill_gunicorn()
        rounds = [look(service, environment=of_cron(service)) for _ in range(3)]
        said = "\n".join(map(told, rounds))
        if any(ran.exit_code in (HEALTHY, RECOVERED) for ran in rounds):
            wait_for(lambda: predicts(service) is not None, "the service to answer", within=BACK_WITHIN)
        else:
            assert VARIABLE in said, said
        assert predicts(service) != 200, said


@pytest.mark.long
@on_a_host_of_its_own
def test_nor_after_a_second_crash() -> None:
    """What the watchdog started is remembered as what somebody else did."""
    with with_keys() as service:
        assert look(service, environment=of_cron(service)).exit_code == HEALTHY
        for _ in range(2):
            service.kill_gunicorn()
            rounds = [look(service, environment=of_cron(service)) for _ in range(3)]
            assert predicts(service) != 200, "\n".join(map(told, rounds))


@on_a_host_of_its_own
def test_an_environment_of_a_users_process_has_nothing_run_as_root() -> None:
    """A user's service says itself in which environment it lives; root's start command is not run in that one."""
    module = attacker.module(attacker.place("bin") / "evil.so")
    for name in ("setpriv", "python", "gunicorn", "sh", "env"):
        attacker.program(attacker.PLACE / "bin" / name)
    attacker.write(attacker.PLACE / "bin/sitecustomize.py", "open('/root/owned', 'a').write('python\\n')\n")
    said = [
        f"LD_PRELOAD={module}",
        f"LD_AUDIT={module}",
        f"PYTHONPATH={attacker.PLACE}/bin",
        f"BASH_ENV={module}",
    ]
    with Service(attacker.UID) as service:
        first, service.launcher = service.launcher, [*service.launcher, "env", *said]
        service.stop_gunicorn()
        service.launcher.append(f"PATH={attacker.PLACE}/bin:/usr/bin:/bin")
        service.start_gunicorn()
        service.launcher = first
        assert look(service, environment=of_cron(service)).exit_code == HEALTHY
        service.kill_gunicorn()
        attacker.owned()
        comes_back(service, environment=of_cron(service))
        assert attacker.owned() == []
        assert service.gunicorn_master is not None
        assert service.gunicorn_master.uids().real == attacker.UID


@on_a_host_of_its_own
def test_a_restart_in_the_environment_of_the_first_start_recovers() -> None:
    with with_keys() as service:
        assert look(service).exit_code == HEALTHY
        service.kill_gunicorn()
        comes_back(service)
        assert predicts(service) == 401


@on_a_host_of_its_own
def test_a_service_that_never_had_keys_recovers_from_cron() -> None:
    with Service(app=None) as service:
        service.config["app"]["boot_deadline"] = "20s"
        service.write_config()
        assert look(service, environment=of_cron(service)).exit_code == HEALTHY
        service.kill_gunicorn()
        comes_back(service, environment=of_cron(service))
        assert predicts(service) == 200
