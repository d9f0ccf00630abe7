"""An ACME authority on a host of its own: Debian's pebble, which asks nginx on another host for the challenge."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.hosts.layer import DOMAIN
from tests.hosts.machine import Machine
from tests.lab.authority import Authority
from tests.lab.waiting import wait_for

NAME = "acme.host.example"
SERVER = f"https://{NAME}:14000/dir"


def start_pebble(machine: Machine, names: dict[str, str], *, days: int = 90) -> tuple[str, str]:
    """Start pebble there, which finds ``names`` at these addresses. The authority of its server, and of what it issues:
    two PEM texts."""
    authority = Authority()
    # A host whose date is moved is to trust it too.
    issued = authority.issue([NAME], not_after=datetime.now(UTC) + timedelta(days=3650))
    machine.write("/etc/pebble/cert.pem", issued.fullchain_pem.decode())
    machine.write("/etc/pebble/key.pem", issued.key_pem.decode())
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/etc/pebble/cert.pem",
        "privateKey": "/etc/pebble/key.pem",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": days * 86400,
    }
    machine.write("/etc/pebble/pebble.json", json.dumps({"pebble": settings}))
    program = shutil.which("pebble")
    assert program is not None
    machine.copy_in(Path(program), "/usr/local/bin")
    entries = {NAME: "127.0.0.1"} | names
    lines = "".join(f"{address} {name}\n" for name, address in entries.items())
    machine.write("/etc/hosts", lines + machine.sh(f"grep -v ' {DOMAIN}$' /etc/hosts"))
    quick = ("PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
    machine.run(
        *("systemd-run", "--unit=pebble", *(f"--setenv={variable}" for variable in quick)),
        *("/usr/local/bin/pebble", "-config", "/etc/pebble/pebble.json", "-strict"),
    )
    question = f"curl --silent --insecure --fail https://{NAME}:15000/roots/0"
    wait_for(lambda: machine.sh(question, check=False) != "", "pebble to answer")
    return authority.root.pem.decode(), machine.sh(question)
