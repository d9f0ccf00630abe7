"""The unit files and the cron entry: systemd takes every line, and what they name is what the toolkit has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = tuple(
    sorted(path.name for path in (DEPLOY / "systemd").iterdir() if path.suffix in (".service", ".timer"))
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_every_line(tmp_path: Path) -> None:
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        # The programs are installed on the host, not here.
        (tmp_path / name).write_text(
            re.sub(r"/opt/gte-api/venv/bin/[\w-]+", "/bin/true", text), encoding="utf-8"
        )
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in ran.stderr.splitlines() if any(name in line for name in UNITS)]
    assert complaints == []


def test_the_watchdog_is_notifying_and_never_takes_the_service_with_it() -> None:
    text = (DEPLOY / "systemd" / "gte-ops-watchdog.service").read_text(encoding="utf-8")
    for line in ("Type=notify", "WatchdogSec=3min", "KillMode=process", "Restart=always"):
        assert line in text.splitlines()


def test_cron_runs_one_round_a_minute() -> None:
    lines = (DEPLOY / "cron" / "gte-ops-watchdog").read_text(encoding="utf-8").splitlines()
    (entry,) = [line for line in lines if line and not line.startswith("#") and "=" not in line.split()[0]]
    assert entry.startswith("* * * * * root gte-ops watchdog --once ")
