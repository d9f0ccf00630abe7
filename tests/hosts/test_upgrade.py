"""`gte-ops upgrade` on a real host under load: forward, back, broken versions, killed. Each client's request counts.

The counts: --log-cli-level=INFO.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.host import HOME
from tests.hosts.layer import DOMAIN, PYTHONS, REPOSITORY, settings_text
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import INSTALL_SECONDS, LISTING, PAIR
from tests.hosts.wheelhouse import PRESENT, add_version, make_wheelhouse
from tests.lab.authority import Authority
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)

UPGRADE = ("env", "PIP_NO_COMPILE=1", "/usr/local/bin/gte-ops", "upgrade")
# pip unpacks fifty wheels.
UPGRADE_SECONDS = 900.0
CLIENTS = 3
GOOD, SECOND, NO_START, WRONG, REFUSED = (f"9.0.{number}" for number in range(1, 6))
_SNIPPET = "ops/deployment/files/nginx/snippets/gte-api-errors.conf"
BREAKS = {
    REFUSED: {_SNIPPET: ("# ", "nonsense; # ")},
    NO_START: {"service/app.py": ("\nimport sys\n", "\nraise RuntimeError('broken on purpose')\n")},
    WRONG: {"service/api/predict.py": ('"result": prediction.result,', '"result": {"entities": []},')},
}


@pytest.fixture(scope="module", params=sorted(PYTHONS))
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, suite: str) -> Iterator[Path]:
    directory = make_wheelhouse(tmp_path_factory.mktemp("upgrade") / "wheels", PYTHONS[suite])
    for version in (GOOD, SECOND):
        add_version(directory, version)
    for version, changes in BREAKS.items():
        add_version(directory, version, changes)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def host(environment: Path, wheels: Path, suite: str) -> Iterator[Machine]:
    """An installed host with a wheelhouse."""
    with Machine(environment, suite=suite) as machine:
        # A directory of an overlay's lower layer has no name to exchange (overlayfs.rst, redirect_dir).
        machine.sh("cd /opt/gte-api && cp -a venv copy && rm -r venv && mv copy venv", seconds=300)
        authority = Authority()
        issued = authority.issue([DOMAIN])
        machine.write("/root/pair/chain.pem", issued.fullchain_pem.decode())
        machine.write("/root/pair/key.pem", issued.key_pem.decode())
        machine.write("/root/pair/ca.pem", authority.root.pem.decode())
        machine.sh("chmod 600 /root/pair/key.pem")
        machine.write("/root/gte-ops.toml", settings_text(pair=PAIR))
        machine.copy_in(wheels, "/root")
        machine.before = machine.sh(LISTING)  # type: ignore[attr-defined]
        machine.run(GTE_OPS, "install", "--config", "/root/gte-ops.toml", seconds=INSTALL_SECONDS)
        machine.sh("systemctl stop gte-ops-backup.timer gte-ops-drill.timer gte-ops-cert.timer")
        # All clients are one address, whose rate is not what is tested.
        machine.sh(
            "sed -i 's,rate=60r/m,rate=60000r/m,; s,burst=20 ,burst=1000 ,' /etc/nginx/conf.d/gte-api.conf"
            " && nginx -t && systemctl reload nginx"
        )
        yield machine


@contextmanager
def clients(host: Machine, directory: Path) -> Iterator[Counter[str]]:
    """Clients that ask during the block; afterwards the statuses of all of their requests."""
    file = directory / f"load-{time.monotonic_ns()}"
    facts = json.loads((HOME / "hosts" / host.name / "host.json").read_text())
    statuses: Counter[str] = Counter()
    process = subprocess.Popen(
        [
            *("ip", "netns", "exec", facts["bridge"], sys.executable, "-m", "tests.hosts.load"),
            *(facts["address"], DOMAIN, str(CLIENTS), str(file)),
        ],
        cwd=REPOSITORY,
        env=os.environ,
    )
    try:
        wait_for(lambda: file.exists() and file.read_text().count("\n") > CLIENTS, "the clients", within=60)
        yield statuses
    finally:
        process.terminate()
        process.wait()
        statuses.update(line.split()[2] for line in file.read_text().splitlines())


def version_of(host: Machine) -> str:
    """The version that a client is told."""
    answer = json.loads(host.sh("curl -s localhost:8000/health"))
    return str(answer["version"])


def assert_one_master(host: Machine) -> None:
    """systemd's main process is the only master, runs in the present version's place, and has the pidfile."""
    pid = host.show("gte-api.service", "MainPID")
    assert host.sh("cat /run/gte-api/gunicorn.pid").strip() == pid
    masters = host.sh("pgrep --parent 1 --full gunicorn").split()
    assert masters == [pid]
    place = host.sh("readlink -f /opt/gte-api/venv").strip()
    assert host.sh(f"tr '\\0' '\\n' </proc/{pid}/cmdline").splitlines()[0].startswith(place)


def test_forward_and_back_under_load_lose_no_request(host: Machine, tmp_path: Path) -> None:
    with clients(host, tmp_path) as statuses:
        host.run(*UPGRADE, GOOD, "--wheelhouse", "/root/wheels", seconds=UPGRADE_SECONDS)
        assert version_of(host) == GOOD
        assert_one_master(host)
        host.run(*UPGRADE, "--rollback", seconds=UPGRADE_SECONDS)
        assert version_of(host) == PRESENT
        assert_one_master(host)
        host.run(*UPGRADE, "--rollback", seconds=UPGRADE_SECONDS)
        assert version_of(host) == GOOD
    LOG.info("forward, back, forward: %s", dict(statuses))
    assert set(statuses) == {"200"}
    assert "0 loaded units" in host.sh("systemctl --failed")
    assert host.show("gte-ops-watchdog.service", "ActiveState") == "active"


@pytest.mark.parametrize(("version", "words"), [(NO_START, "broken on purpose"), (WRONG, "otherwise than")])
def test_a_broken_version_costs_no_request(host: Machine, tmp_path: Path, version: str, words: str) -> None:
    present, pid = version_of(host), host.show("gte-api.service", "MainPID")
    with clients(host, tmp_path) as statuses:
        ran = host.run(
            *UPGRADE, version, "--wheelhouse", "/root/wheels", check=False, seconds=UPGRADE_SECONDS
        )
    LOG.info("broken %s: %s", version, dict(statuses))
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "the former version serves" in ran.stderr
    assert (version_of(host), host.show("gte-api.service", "MainPID")) == (present, pid)
    assert set(statuses) == {"200"}


def test_a_version_that_fails_after_the_switch_is_taken_back_under_load(
    host: Machine, tmp_path: Path
) -> None:
    """nginx refuses the site of the new version, which serves by then."""
    present = version_of(host)
    with clients(host, tmp_path) as statuses:
        ran = host.run(
            *UPGRADE, REFUSED, "--wheelhouse", "/root/wheels", check=False, seconds=UPGRADE_SECONDS
        )
    LOG.info("taken back: %s", dict(statuses))
    assert ran.returncode == 2, ran.stdout
    assert "the former version serves" in ran.stderr
    assert version_of(host) == present
    assert_one_master(host)
    assert "nonsense" not in host.sh("cat /etc/nginx/snippets/gte-api-errors.conf; nginx -t")
    assert set(statuses) == {"200"}


@pytest.mark.parametrize("stage", ["building", "switch", "finish"])
def test_killed_it_serves_on_and_the_next_run_ends_it(host: Machine, tmp_path: Path, stage: str) -> None:
    """Killed while pip runs, or as soon as the journal says that stage."""
    journal = "/var/lib/gte-ops/install/upgrade.json"
    goal = SECOND if version_of(host) != SECOND else GOOD
    with clients(host, tmp_path) as statuses:
        host.sh(
            f"systemd-run --collect --unit=upgrading --setenv=PIP_NO_COMPILE=1 {' '.join(UPGRADE[2:])} {goal} --force"
            " --wheelhouse /root/wheels"
        )
        word = '"stage":"build"' if stage == "building" else f'"stage":"{stage}"'
        wait_for(
            lambda: word in host.sh(f"cat {journal}", check=False), stage, within=UPGRADE_SECONDS, every=0.2
        )
        host.sh("systemctl kill --signal=KILL upgrading", check=False)
        wait_for(
            lambda: host.show("upgrading.service", "ActiveState") != "active", "its end", within=60, every=0.2
        )
        between = version_of(host)
        assert between in (GOOD, SECOND, PRESENT)
        ran = host.run(*UPGRADE, goal, "--wheelhouse", "/root/wheels", seconds=UPGRADE_SECONDS)
        assert "cut off" in ran.stdout
        assert version_of(host) == goal
        assert_one_master(host)
    LOG.info("killed at %s: %s", stage, dict(statuses))
    assert set(statuses) == {"200"}


def test_an_uninstallation_after_upgrades_leaves_the_host_as_it_was(host: Machine) -> None:
    host.sh("ls -d /opt/gte-api/versions/.original/bin")
    # Of a file that was edited by hand, as the fixture's site, a copy would stay.
    overwrite = (GTE_OPS, "install", "--config", "/root/gte-ops.toml", "--overwrite")
    host.run(*overwrite, seconds=INSTALL_SECONDS)
    host.run(GTE_OPS, "uninstall", "--purge", seconds=INSTALL_SECONDS)
    assert host.sh(LISTING) == host.before  # type: ignore[attr-defined]
