"""The service on a virtual machine: Debian's own kernel and control groups of version 2."""

from __future__ import annotations

import pytest

from tests.hosts.emulated import WITHIN, assert_green
from tests.hosts.machine import Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long


def test_it_is_green(vm: Machine) -> None:
    assert vm.sh("stat -f -c %T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert_green(vm)


def test_the_watchdog_goes_on_and_all_stays_green(vm: Machine) -> None:
    rounds = "grep -o '\"rounds\": *[0-9]*' /var/lib/gte-ops/watchdog.json | grep -o '[0-9]*$'"
    before = int(vm.sh(rounds))
    wait_for(lambda: int(vm.sh(rounds)) >= before + 3, "three checks", within=WITHIN, every=3)
    assert_green(vm)
