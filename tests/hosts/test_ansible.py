"""The Ansible collection: linted as for production, and on three bare hosts and a balancer of our own.

The counts: --log-cli-level=INFO.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.ansible_fleet import (
    SECRET,
    SERVICE_SECRET,
    AnsibleFleet,
    Played,
    build_wheel,
    make_dependencies,
    with_version,
)
from tests.hosts.conftest import clear_up
from tests.hosts.fleet import Request, counted, failed
from tests.hosts.layer import REPOSITORY
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)
NEWER, NEWEST = "9.0.1", "9.0.2"
BROKEN_UNIT = "/etc/systemd/system/gte-api.service.d/broken.conf"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    directory = tmp_path_factory.mktemp("wheels")
    own = build_wheel(directory)
    yield {
        "": own,
        NEWER: with_version(own, NEWER),
        NEWEST: with_version(own, NEWEST),
    }
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnsibleFleet]:
    clear_up()
    layer = make_dependencies(tmp_path_factory.mktemp("host-dependencies"))
    with AnsibleFleet(layer, tmp_path_factory.mktemp("controller")) as hosts:
        yield hosts
    shutil.rmtree(layer)


def test_ansible_lint_has_nothing_to_say_of_it_as_for_production(tmp_path: Path) -> None:
    place = tmp_path / "ansible_collections/gte_ops/gte_ops"
    shutil.copytree(REPOSITORY / "deploy/ansible", place)
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-lint")),
            "--offline",
            "--profile",
            "production",
            "--strict",
        ],
        cwd=place,
        env=os.environ | {"ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def good(played: Played) -> Played:
    assert played.exit_code == 0, played.output[-8000:]
    return played


def test_one_inventory_from_bare_hosts_to_a_fleet_that_is_upgraded_rolled_back_and_examined(
    fleet: AnsibleFleet, wheels: dict[str, Path], tmp_path: Path
) -> None:
    first, second, third = fleet.hosts
    wheel = str(wheels[""])

    # On hosts that have nothing yet, a dry run ends well and changes nothing.
    good(fleet.play("install", "--check", "-e", "gte_ops_serial=100%", gte_ops_wheel=wheel))
    assert (
        first.sh("ls /etc/gte-ops /opt/gte-api/venv/bin/gte-ops 2>&1", check=False).count("No such file") == 2
    )

    played = good(fleet.play("install", "-vvv", "--diff", "-e", "gte_ops_serial=100%", gte_ops_wheel=wheel))
    wait_for(lambda: fleet.balancer.answers("/ready") == 200, "the balancer to serve", within=60, every=0.3)
    for secret in (SECRET, SERVICE_SECRET):
        assert secret not in played.output
        assert secret not in first.sh("journalctl --no-pager")
    assert SERVICE_SECRET in first.sh("cat /etc/gte-api/environment")

    again = good(fleet.play("install", gte_ops_wheel=wheel))
    assert again.total("changed") == 0, again.output
    dry = good(fleet.play("install", "--check", gte_ops_wheel=wheel))
    assert dry.total("changed") == 0, dry.output
    LOG.info("second run: %s", dict(again.recap))
    own = fleet.versions()[0]
    fleet.admit_load()

    with fleet.clients(tmp_path) as requests:
        good(fleet.play("upgrade", gte_ops_wheel=str(wheels[NEWER])))
    assert fleet.versions() == [NEWER] * 3
    unharmed("upgrade", requests)

    # The second host cannot start what it is given: the third is not touched, and users are served by two.
    second.write(BROKEN_UNIT, "[Service]\nExecStartPre=/bin/false\n")
    second.sh("systemctl daemon-reload")
    with fleet.clients(tmp_path) as requests:
        stopped = fleet.play("upgrade", gte_ops_wheel=str(wheels[NEWEST]), gte_ops_wait="20s")
    assert stopped.exit_code != 0
    assert "Hosts after it were not touched" in stopped.output
    assert fleet.versions() == [NEWEST, "", NEWER]
    assert out_of_the_balancer(fleet) == [fleet.address(second)]
    assert third.name not in stopped.recap
    unharmed("upgrade that stops", requests)

    second.sh(f"rm {BROKEN_UNIT}; systemctl daemon-reload; systemctl reset-failed gte-api")
    with fleet.clients(tmp_path) as requests:
        good(fleet.play("rollback", gte_ops_version=NEWER))
    assert fleet.versions() == [NEWER] * 3
    assert out_of_the_balancer(fleet) == []
    unharmed("rollback", requests)
    assert own != NEWER

    good(fleet.play("doctor"))
    third.sh("systemctl stop gte-ops-watchdog gte-api")
    examined = fleet.play("doctor")
    assert examined.exit_code != 0
    assert {host: counts["failed"] for host, counts in examined.recap.items()} == {
        first.name: 0,
        second.name: 0,
        third.name: 1,
        fleet.balancer.name: 0,
    }
    report = good(fleet.play("bundles")).output
    assert "GUN001" in report
    assert third.name in report
    assert len(list((fleet.directory / "bundles").glob("*.json"))) == 4


def unharmed(what: str, requests: list[Request]) -> None:
    LOG.info("%s: %s", what, counted(requests))
    assert len(requests) > 50
    assert failed(requests) == []


def out_of_the_balancer(fleet: AnsibleFleet) -> list[str]:
    """The hosts that the balancer sends nothing."""
    lines = fleet.balancer.sh("cat /etc/nginx/snippets/gte-api-upstream.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("server ") and " down;" in line]
