"""The clock of a virtual machine is set: safeguards run by their own timers, a certificate expires and is renewed, and
the doctor and the watchdog are right about all of it. In a container this would be every process's clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.hosts.emulated import BUDGET, WITHIN, assert_green, wait_until_ready
from tests.hosts.layer import DOMAIN
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

DAY = 86400
SAFEGUARDS = ("gte-ops-backup", "gte-ops-drill", "gte-ops-cert", "logrotate", "certbot")
SERVED = (
    f"openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} </dev/null 2>/dev/null"
    " | openssl x509 -noout -serial"
)
STATE = "/var/lib/gte-ops/watchdog.json"
# Debian spreads the renewals of all its hosts over half a day, anew each time the clock is set.
AT_ONCE = "[Timer]\nRandomizedDelaySec=0\n"


@pytest.fixture
def clocked(vm: Machine) -> Iterator[Machine]:
    """The machine, with logs that logrotate has looked at once. Afterwards certbot's timer is as it was; the clock
    stays where it is, for what was written meanwhile stays too."""
    vm.write("/run/systemd/system/certbot.timer.d/at-once.conf", AT_ONCE)
    vm.sh("systemctl daemon-reload; systemctl start logrotate.service certbot.timer")
    yield vm
    vm.sh("rm -r /run/systemd/system/certbot.timer.d; systemctl daemon-reload; systemctl start certbot.timer")


def now(machine: Machine) -> int:
    return int(machine.sh("date +%s"))


def move_clock(machine: Machine, seconds: int) -> int:
    """Set the clock forward or back, and return what it was set to."""
    return int(machine.sh(f"date --set=@$(($(date +%s) + {seconds})) +%s"))


def times(machine: Machine, unit: str, name: str) -> int:
    """A timestamp of a unit, Unix seconds; 0 where there is none. systemd 252 prints a timer's for people alone."""
    shown = f'shown=$(systemctl show --property={name} --value {unit}); [ -z "$shown" ] || date --date="$shown" +%s'
    return int(machine.sh(shown) or 0)


def wait_for_timers(machine: Machine, names: tuple[str, ...], since: int) -> None:
    """Wait until each timer has started its service since then, and that has ended; all of them well."""

    def has_run(name: str) -> bool:
        return (
            times(machine, f"{name}.timer", "LastTriggerUSec") >= since
            and times(machine, f"{name}.service", "ExecMainExitTimestamp") >= since
            and machine.show(f"{name}.service", "ActiveState") in ("inactive", "failed")
        )

    for name in names:
        wait_for(partial(has_run, name), f"{name} by its own timer", within=WITHIN, every=2.0)
        assert machine.show(f"{name}.service", "Result") == "success", machine.sh(
            f"journalctl --no-pager -n 20 -u {name}"
        )


def actions(machine: Machine) -> list[object]:
    """What the watchdog has done, and that it goes on."""
    state = json.loads(machine.sh(f"cat {STATE}"))
    return list(state["actions"])


def wait_for_rounds(machine: Machine, number: int) -> None:
    def rounds() -> int:
        return int(json.loads(machine.sh(f"cat {STATE}"))["rounds"])

    until = rounds() + number
    wait_for(lambda: rounds() >= until, f"{number} checks of the watchdog", within=WITHIN, every=3.0)


def test_what_was_missed_runs_by_its_own_timer_and_a_due_certificate_is_renewed(clocked: Machine) -> None:
    wait_for_rounds(clocked, 1)
    before, serial, done = clocked.show("gte-api", "MainPID"), clocked.sh(SERVED), actions(clocked)
    since = move_clock(clocked, 65 * DAY)
    report = clocked.doctor("--budget", BUDGET)
    assert "OPS006" not in report.codes, "the watchdog runs, whatever the calendar says"

    wait_for_timers(clocked, SAFEGUARDS, since)
    assert clocked.sh(SERVED) != serial, "certbot has renewed, and its hook has had nginx take that up"
    newest = clocked.sh("ls -t /var/backups/gte-ops/*.tar.zst | head -n 1").strip()
    assert int(clocked.sh(f"stat -c %Y {newest}")) >= since
    assert int(clocked.sh("stat -c %Y /var/lib/gte-ops-cert/gte_ops_cert.prom")) >= since
    wait_for_rounds(clocked, 2)
    assert clocked.show("gte-api", "MainPID") == before, "nothing was restarted"
    assert actions(clocked) == done
    assert "state: healthy" in clocked.run(GTE_OPS, "watchdog", "status").stdout
    assert_green(clocked)


def test_an_expired_certificate_is_named_and_the_renewal_mends_it(clocked: Machine) -> None:
    clocked.run("systemctl", "stop", "certbot.timer")
    since = move_clock(clocked, 91 * DAY)
    wait_for_timers(clocked, ("gte-ops-cert", "gte-ops-backup", "gte-ops-drill"), since)
    report = clocked.doctor("--budget", BUDGET)
    assert (report.exit_code, report.first) == (2, "TLS001"), report.stdout
    assert "certbot renew" in report.report["causes"][0]["fix"]
    assert set(report.codes) == {"TLS001", "OPS009"}, "and the timer that should have renewed it"
    checked = clocked.run(GTE_OPS, "cert", "check", check=False)
    assert (checked.returncode, checked.stdout.count("TLS001")) == (2, 2), checked.stdout
    assert 'source="served",where="127.0.0.1:443"} 2' in clocked.sh(
        "grep ^gte_ops_certificate_status /var/lib/gte-ops-cert/gte_ops_cert.prom"
    )

    renewed = now(clocked)
    clocked.run("systemctl", "start", "certbot.timer")
    wait_for_timers(clocked, ("certbot",), renewed)
    wait_until_ready(clocked)
    assert clocked.run(GTE_OPS, "cert", "check", check=False).returncode == 0
    assert_green(clocked)
