"""Memory that runs out in a control group of version 2: what the kernel, systemd and the doctor say of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.emulated import BUDGET, WITHIN, wait_until_ready
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.stack import Report
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

# Less than a worker takes, more than the master does. What holds until the next boot is undone by one command.
LIMIT = "MemoryMax=100M"
DROP_IN = "/run/systemd/system/gte-api.service.d"
EVENTS = "/sys/fs/cgroup/system.slice/gte-api.service/memory.events"
KILL = "journalctl -k --no-pager --since=@{since} | grep -E 'oom-kill:.*task_memcg=/system.slice/gte-api.service'"


@pytest.fixture
def starved(vm: Machine) -> Iterator[Machine]:
    """The machine, without a watchdog that acts; the unit has no drop-in afterwards, and serves."""
    vm.run(GTE_OPS, "watchdog", "pause", "1h")
    yield vm
    vm.sh(
        f"rm -rf {DROP_IN}; systemctl daemon-reload; systemctl reset-failed gte-api; systemctl restart gte-api"
    )
    vm.run(GTE_OPS, "watchdog", "resume")
    wait_until_ready(vm)


def start_with(machine: Machine, *lines: str) -> str:
    """Start the service anew with these lines in a drop-in of its unit, and return when, in Unix seconds: a limit that
    is lowered while it runs ends what is there."""
    machine.run("systemctl", "stop", "gte-api")
    machine.write(f"{DROP_IN}/limit.conf", "\n".join(("[Service]", *lines, "")))
    return machine.sh(
        "systemctl daemon-reload; date +%s; systemctl start gte-api", check=False, seconds=WITHIN
    ).strip()


def wait_for_kill(machine: Machine, since: str) -> None:
    command = KILL.format(since=since)
    wait_for(
        lambda: machine.sh(command, check=False), "the kernel's word of a kill", within=WITHIN, every=1.0
    )


def assert_it_names(limit: str, report: Report) -> None:
    assert report.first == "GUN005", report.stdout
    cause = report.report["causes"][0]
    assert cause["severity"] == "fail"
    assert limit in cause["summary"]
    assert any(f"Raise {limit} of gte-api.service" in step for step in cause["fix"]), cause["fix"]


def test_a_kill_of_a_worker_leaves_the_unit_and_names_the_limit(starved: Machine) -> None:
    since = start_with(starved, LIMIT)
    master = starved.show("gte-api", "MainPID")
    wait_for_kill(starved, since)
    assert int(starved.sh(f"sed -n 's/^oom_kill //p' {EVENTS}")) >= 1
    assert starved.show("gte-api", "OOMPolicy") == "continue"
    assert starved.show("gte-api", "Result") == "success"
    assert starved.show("gte-api", "MainPID") == master, "the kill of a worker is not the end of the others"
    assert_it_names(LIMIT, starved.doctor("--budget", BUDGET))


def test_a_kill_that_ends_the_unit_names_the_limit(starved: Machine) -> None:
    since = start_with(starved, LIMIT, "OOMPolicy=stop", "Restart=no")
    wait_for_kill(starved, since)
    wait_for(
        lambda: starved.show("gte-api", "Result") == "oom-kill", "Result=oom-kill", within=WITHIN, every=1.0
    )
    assert_it_names(LIMIT, starved.doctor("--budget", BUDGET))
