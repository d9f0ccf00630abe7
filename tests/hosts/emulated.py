"""A virtual machine with the service, as `gte-ops install` sets it up: Debian's own kernel, control groups of version
2, a clock of its own, and an ACME authority in it, which goes by that clock."""

from __future__ import annotations

import compileall
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.acme import NAME, SERVER, start_pebble
from tests.hosts.layer import DOMAIN, SETTINGS, make_environment
from tests.hosts.machine import GTE_OPS, Machine
from tests.lab.waiting import wait_for

MEMORY_MIB = 2048
# Emulated instructions take their time, on a busy machine more so.
SLOW_SECONDS = 1500.0
# What the doctor may take, and what anything else is waited for, seconds.
BUDGET = "4m"
WITHIN = 400.0


@contextmanager
def emulated(directory: Path) -> Iterator[Machine]:
    """The machine, ready behind nginx with a certificate of certbot's; ``directory`` is scratch."""
    layer = make_environment(directory)
    compileall.compile_dir(str(layer), quiet=2)
    with Machine(memory=MEMORY_MIB) as host:
        host.copy_in(layer / "opt", "/")
        shutil.rmtree(layer)
        server_root, root = start_pebble(host, {DOMAIN: "127.0.0.1"})
        host.sh(f"echo '127.0.0.1 {NAME}' >>/etc/hosts")
        host.write("/etc/ssl/acme.pem", server_root)
        host.write("/etc/gte-ops/ca.pem", root)
        host.write("/root/gte-ops.toml", SETTINGS.replace("interval = 5", "interval = 30"))
        host.run(
            *(GTE_OPS, "install", "--config", "/root/gte-ops.toml", "--certificate", "certbot"),
            *("--acme-server", SERVER, "--acme-ca", "/etc/ssl/acme.pem", "--wait", "15m"),
            seconds=SLOW_SECONDS,
        )
        yield host


def wait_until_ready(machine: Machine) -> None:
    """Wait until the service answers through nginx."""
    wait_for(lambda: machine.answers("/ready") == 200, "the service to be ready", within=WITHIN, every=1.0)


def assert_green(machine: Machine) -> None:
    """No unit has failed, and the doctor has nothing to say."""
    assert "0 loaded units" in machine.sh("systemctl --failed")
    report = machine.doctor("--budget", BUDGET)
    assert (report.exit_code, report.codes) == (0, []), report.stdout
