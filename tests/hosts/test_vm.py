"""A virtual machine, emulated: Debian's own kernel, control groups of version 2, and the service that `gte-ops install`
set up."""

from __future__ import annotations

import compileall
import shutil
from collections.abc import Iterator

import pytest

from tests.hosts.layer import SETTINGS, make_environment
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

MEMORY_MIB = 2048
# Emulated instructions take their time, on a busy machine more so.
SLOW_SECONDS = 1500.0
PAIR = """
[tls]
certificate = "/etc/gte-ops/pair.pem"
private_key = "/etc/gte-ops/pair.key"
ca_file = "/etc/gte-ops/ca.pem"
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A virtual machine with the service, set up by `gte-ops install` and ready behind nginx."""
    layer = make_environment(tmp_path_factory.mktemp("vm-environment"))
    compileall.compile_dir(str(layer), quiet=2)
    with Machine(memory=MEMORY_MIB) as host:
        host.copy_in(layer / "opt", "/")
        shutil.rmtree(layer)
        settings = SETTINGS.replace('\n[tls]\nca_file = "/etc/gte-ops/ca.pem"\n', PAIR)
        host.write("/root/gte-ops.toml", settings.replace("interval = 5", "interval = 30"))
        host.run(
            *(GTE_OPS, "install", "--config", "/root/gte-ops.toml", "--certificate", "throwaway"),
            *("--wait", "15m"),
            seconds=SLOW_SECONDS,
        )
        yield host


def test_it_is_green(machine: Machine) -> None:
    assert machine.sh("stat -f -c %T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert "0 loaded units" in machine.sh("systemctl --failed")
    assert_green(machine)


def assert_green(machine: Machine) -> None:
    report = machine.doctor("--budget", "4m")
    assert (report.exit_code, report.codes) == (0, []), report.stdout


def test_the_watchdog_goes_on_and_all_stays_green(machine: Machine) -> None:
    rounds = "grep -o '\"rounds\": *[0-9]*' /var/lib/gte-ops/watchdog.json | grep -o '[0-9]*$'"
    before = int(machine.sh(rounds))
    wait_for(lambda: int(machine.sh(rounds)) >= before + 3, "three checks", within=400, every=3)
    assert "0 loaded units" in machine.sh("systemctl --failed")
    assert_green(machine)
