"""A pidfile or a progress record is a claim: it names the service's processes only where these agree with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import advice, codes
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.attacks.service import Service, Tenant, answers, comes_back, look, own, supervised
from tests.lab.waiting import wait_for
from tests.lab.watched import HEALTHY, told

OTHER_USER = 65533

# Whom the service runs as; whose the pidfile is; whose the process that it names.
CLAIMS = {
    "stale, names a service of root's": (0, 0, 0),
    "stale, names another user's service": (0, 0, OTHER_USER),
    "forged, names a service of root's": (attacker.UID, attacker.UID, 0),
    "forged, names another user's service": (attacker.UID, attacker.UID, OTHER_USER),
}


def claim(service: Service, pid: int, uid: int) -> None:
    """Puts a pidfile in the place of the service's own."""
    service.gunicorn_pidfile.unlink(missing_ok=True)
    service.gunicorn_pidfile.write_text(f"{pid}\n")
    own(service.gunicorn_pidfile, uid)


def records_of(tenant: Tenant, service: Service, uid: int) -> None:
    """Progress records that call every worker of a tenant stuck for an hour."""
    for worker in tenant.workers:
        ticks = int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[19])
        file = service.progress_dir / f"{worker.pid}.json"
        record = {
            "pid": worker.pid,
            "start_ticks": ticks,
            "phase": "ready",
            "completed": 1,
            "last_completed": 1.0,
            "in_flight": [{"path": "/predict", "since": worker.create_time() - 3600}],
        }
        file.write_text(json.dumps(record))
        own(file, uid)


SAMPLE = ("stale, names a service of root's", "forged, names another user's service")


@pytest.mark.parametrize(
    "which", [pytest.param(which, marks=() if which in SAMPLE else pytest.mark.long) for which in CLAIMS]
)
@on_a_host_of_its_own
def test_a_pidfile_that_names_another_service_neither_hides_the_failure_nor_harms_it(which: str) -> None:
    uid, owner, named = CLAIMS[which]
    with supervised(uid) as service:
        tenant = Tenant(service, uid=named)
        service.kill_gunicorn()
        claim(service, tenant.pid, owner)
        report = service.doctor().report
        assert "NGX005" not in codes(report), codes(report)
        assert "GUN001" in codes(report), codes(report)
        assert not [line for line in advice(report) if tenant.bind in line], advice(report)
        comes_back(service)
        assert tenant.is_unharmed
        assert int(service.gunicorn_pidfile.read_text()) != tenant.pid


@pytest.mark.parametrize("service_runs", [True, False], ids=["running", "down"])
@on_a_host_of_its_own
def test_no_forged_record_has_another_services_worker_ended(service_runs: bool) -> None:
    with supervised(attacker.UID) as service:
        tenant = Tenant(service)
        # The watchdog starts anew, as after an update: it knows no master yet.
        (service.state / "watchdog.json").unlink()
        if not service_runs:
            service.kill_gunicorn()
        claim(service, tenant.pid, attacker.UID)
        records_of(tenant, service, attacker.UID)
        if service_runs:
            rounds = [look(service) for _ in range(3)]
            assert [ran.exit_code for ran in rounds] == [HEALTHY] * 3, "\n".join(map(told, rounds))
        else:
            comes_back(service)
        assert tenant.is_unharmed
        assert answers(service)


@on_a_host_of_its_own
def test_the_doctors_remedies_start_the_service_and_leave_the_other_alone() -> None:
    with supervised() as service:
        tenant = Tenant(service)
        service.kill_gunicorn()
        claim(service, tenant.pid, 0)
        pid = service.keeper.spawn(
            service.gte_ops_command("doctor", "--config", str(service.config_file), "--fix=risky", "--yes"),
            cwd=service.directory,
            env=service.environment(),
            output=service.directory / "fix.log",
        )
        wait_for(lambda: service.keeper.exit_code(pid) is not None, "--fix to end", within=60)
        assert answers(service), (service.directory / "fix.log").read_text()
        assert tenant.is_unharmed
        assert tenant.bind not in service.site_file.read_text()


# --- the harmless twins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [0, attacker.UID], ids=["root's", "its own user's"])
@on_a_host_of_its_own
def test_a_service_comes_back_after_a_crash_that_left_its_pidfile(uid: int) -> None:
    with supervised(uid) as service:
        tenant = Tenant(service)
        service.kill_gunicorn()
        assert service.gunicorn_pidfile.exists()
        comes_back(service)
        assert service.gunicorn_master is not None
        assert service.gunicorn_master.uids().real == uid
        assert tenant.is_unharmed


@on_a_host_of_its_own
def test_a_service_comes_back_where_its_pid_has_become_another_programs() -> None:
    with supervised() as service:
        service.kill_gunicorn()
        sleeper = service.spawn("sleep", "600")
        claim(service, sleeper, 0)
        comes_back(service)
        os.kill(sleeper, 0)


@pytest.mark.parametrize("named", ["by the pidfile", "by nothing"])
@on_a_host_of_its_own
def test_of_two_instances_in_one_directory_the_one_that_crashed_is_started(named: str) -> None:
    with supervised() as service:
        conf = service.app_dir / "second.conf.py"
        conf.write_text("threads = 2\n")
        second = Tenant(service, name="build", options=("-c", str(conf)))
        service.kill_gunicorn()
        if named == "by the pidfile":
            claim(service, second.pid, 0)
        comes_back(service)
        assert second.is_unharmed


@on_a_host_of_its_own
def test_the_pidfile_of_a_service_that_runs_is_believed() -> None:
    with supervised(attacker.UID) as service:
        Tenant(service)
        del service.config["gunicorn"]["bind"], service.config["gunicorn"]["config_file"]
        service.write_config()
        report = service.doctor().report
        assert report["target"]["backend"] == service.bind
        assert "GUN001" not in codes(report), codes(report)
