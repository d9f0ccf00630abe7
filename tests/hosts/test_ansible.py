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

from tests.hosts.ansible_fleet import SECRET, SERVICE_SECRET, AnsibleFleet, Played, wheels_layer
from tests.hosts.conftest import clear_up
from tests.hosts.fleet import Request, counted, failed
from tests.hosts.layer import REPOSITORY
from tests.hosts.wheelhouse import add_version, make_wheelhouse
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)
NEWER, NEWEST = "9.0.1", "9.0.2"
LOGS = "/var/log/gte-api"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    directory = make_wheelhouse(tmp_path_factory.mktemp("wheels") / "all")
    (own,) = directory.glob("gte_ops-*.whl")
    yield {"": own, **{version: add_version(directory, version) for version in (NEWER, NEWEST)}}
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Iterator[AnsibleFleet]:
    clear_up()
    layer = wheels_layer(tmp_path_factory.mktemp("host-wheels"), wheels[""].parent)
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
    wait_for(
        lambda: fleet.balancer.answers_outside("/ready") == 200, "the balancer to serve", within=60, every=0.3
    )
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

    # The second host cannot get what the version requires: nothing of it is switched, and the third is not touched.
    second.sh("mv /srv/wheels /srv/elsewhere")
    with fleet.clients(tmp_path) as requests:
        stopped = fleet.play("upgrade", gte_ops_wheel=str(wheels[NEWEST]))
    second.sh("mv /srv/elsewhere /srv/wheels")
    stops_at_second(fleet, stopped)
    unharmed("upgrade that stops", requests)

    # The second host has the version, and the doctor finds its disk full.
    second.sh(
        f"mount -t tmpfs -o size=1m,mode=0755 tmpfs {LOGS} && chown gte-api: {LOGS};"
        f" head -c 2M /dev/zero >{LOGS}/filling || :"
    )
    with fleet.clients(tmp_path) as requests:
        stopped = fleet.play("upgrade", gte_ops_wheel=str(wheels[NEWEST]))
    second.sh(f"umount -l {LOGS}; systemctl kill --signal=USR1 --kill-whom=main gte-api")
    stops_at_second(fleet, stopped)
    assert "HST001" in stopped.output
    unharmed("upgrade that is taken back", requests)

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


def stops_at_second(fleet: AnsibleFleet, played: Played) -> None:
    """The first host is upgraded, the second serves with the version of before, the third was not touched."""
    assert played.exit_code != 0
    assert f"It has {NEWER} again and serves. Hosts after it were not touched" in " ".join(
        played.output.split()
    )
    assert fleet.versions() == [NEWEST, NEWER, NEWER]
    assert out_of_the_balancer(fleet) == []
    assert fleet.hosts[2].name not in played.recap


def unharmed(what: str, requests: list[Request]) -> None:
    LOG.info("%s: %s", what, counted(requests))
    assert len(requests) > 50
    assert failed(requests) == []


def out_of_the_balancer(fleet: AnsibleFleet) -> list[str]:
    """The hosts that the balancer sends nothing."""
    lines = fleet.balancer.sh("cat /etc/nginx/snippets/gte-api-upstream.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("server ") and " down;" in line]
