"""Who made a change, by the journal and the package manager of a real host."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.machine import GTE_OPS, Machine

pytestmark = pytest.mark.long

SITE = "/etc/nginx/conf.d/gte-api.conf"


def _changes(machine: Machine) -> dict[str, dict[str, Any]]:
    ran = machine.sh(f"{GTE_OPS} doctor --format json", check=False)
    return {item["what"]: item for item in json.loads(ran)["changes"]["items"]}


def _install_sudo(machine: Machine, directory: Path) -> None:
    """Debian's own package, from this machine's mirror: hosts reach nothing."""
    subprocess.run(["apt-get", "-q", "download", "sudo"], cwd=directory, check=True, timeout=120)
    (package,) = directory.glob("sudo_*.deb")
    machine.copy_in(package, "/root")
    machine.sh(
        "dpkg -i /root/sudo_*.deb >/dev/null 2>&1; useradd -m carla;"
        "echo 'carla ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/carla; chmod 0440 /etc/sudoers.d/carla"
    )


def test_sudo_of_the_journal_and_the_package_of_a_shipped_file_are_named(
    machine: Machine, tmp_path: Path
) -> None:
    """There is no log of logins on the host: the journal alone knows."""
    _install_sudo(machine, tmp_path)
    assert "none" in machine.sh("ls /var/log/auth.log 2>/dev/null || echo none")
    machine.sh("echo '# ours' >>/etc/nginx/mime.types; nginx -s reload")
    machine.sh(f"{GTE_OPS} baseline accept --force")
    machine.sh(
        "cp /etc/nginx/mime.types /root/edited;"
        "sed -i '$d' /etc/nginx/mime.types;"  # what dpkg does where its question is answered with `Y`
        f"runuser -u carla -- sudo sed -i 's/keepalive 32;/keepalive 24;/' {SITE};"
        "echo 10.0.0.9 prices.shop | runuser -u carla -- sudo tee -a /etc/hosts"
    )
    changes = _changes(machine)
    assert changes["/etc/nginx/mime.types"]["by"] == "dpkg: nginx-common", changes
    by = changes[SITE]["by"]
    assert by.startswith("sudo: carla "), changes
    assert "/usr/bin/sed -i" in by
    assert by.endswith(SITE)
    assert changes["/etc/hosts"]["by"].startswith("sudo: carla "), changes
    assert "tee -a /etc/hosts" in changes["/etc/hosts"]["by"]
