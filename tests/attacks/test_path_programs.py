"""A directory of a user's on root's PATH, before the system's: no program in it is run by root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import CONFIG, gte_ops, guide_host, start_nginx
from tests.attacks.namespaces import on_a_host_of_its_own

NAMES = (
    "openssl", "ss", "journalctl", "timedatectl", "chronyc", "logrotate", "systemd-analyze", "systemd-sysusers",
    "systemd-tmpfiles", "systemctl", "promtool", "restic", "rclone", "ssh", "ssh-keygen", "age", "certbot", "nginx",
    "py-spy", "python3", "bash", "sh", "env", "id", "cat",
)  # fmt: skip
COMMANDS = {
    "version": ["version"],
    "doctor": ["doctor"],
    "fix": ["doctor", "--fix", "--yes"],
    "preflight": ["preflight"],
    "cert": ["cert", "check"],
    "watchdog": ["watchdog", "--once"],
    "logrotate": ["render", "logrotate", "--install"],
    "systemd": ["render", "systemd", "--install"],
    "prometheus": ["render", "prometheus", "--install"],
    "nginx": ["render", "nginx", "--install"],
    "backup": ["backup", "create"],
    "copy by restic": ["backup", "create", "--to", "restic:/srv/repository"],
    "copy by rclone": ["backup", "create", "--to", "rclone:there:backups"],
    "copy by ssh": ["backup", "create", "--to", "ssh:there:backups"],
    "drill": ["backup", "drill"],
}
SAMPLE = ("version", "doctor", "systemd", "logrotate", "prometheus", "copy by ssh", "drill")


def lay_out(directory: Path, *, uid: int) -> None:
    """Every program under its own name in one directory, and what has them asked."""
    guide_host()
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    CONFIG.write_text("")
    Path("/run/systemd/timesync").mkdir(parents=True, exist_ok=True)
    start_nginx()
    attacker.program(directory / NAMES[0], uid=uid)
    for name in NAMES[1:]:
        shutil.copy2(directory / NAMES[0], directory / name)
        os.chown(directory / name, uid, uid)


@pytest.mark.parametrize(
    "which", [pytest.param(which, marks=() if which in SAMPLE else pytest.mark.long) for which in COMMANDS]
)
@on_a_host_of_its_own
def test_root_runs_no_program_of_a_users(which: str) -> None:
    place = attacker.place("bin")
    lay_out(place, uid=attacker.UID)
    environment = {"PATH": f"{place}:{os.environ['PATH']}"}
    if which == "drill":
        assert gte_ops("backup", "create").returncode == 0
    ran = gte_ops(*COMMANDS[which], environment=environment)
    assert attacker.owned() == [], ran.stdout + ran.stderr
    assert "please report" not in ran.stderr
    assert "Traceback" not in ran.stderr
    if which.startswith("copy"):
        tool = which.split()[-1]
        assert f"{place}/{tool} is not run: " in ran.stderr
    if which in ("logrotate", "systemd", "prometheus"):
        assert ran.returncode == 2
        assert "nothing was changed" in ran.stderr


@on_a_host_of_its_own
def test_a_directory_of_roots_may_stand_before_the_systems() -> None:
    place = Path("/usr/local/own")
    place.mkdir()
    lay_out(place, uid=0)
    (place / "openssl").write_text("#!/bin/sh\necho OpenSSL 9.8.7\n")
    for name in NAMES:
        if name != "openssl":
            (place / name).unlink()
    ran = gte_ops("version", environment={"PATH": f"{place}:{os.environ['PATH']}"})
    assert "9.8.7" in ran.stdout
    ran = gte_ops("render", "logrotate", "--install", environment={"PATH": f"{place}:{os.environ['PATH']}"})
    assert ran.returncode == 0, ran.stderr
