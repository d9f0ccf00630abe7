"""The unit files and the cron entry: systemd takes every line, and what they name is what the toolkit has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.settings import Settings
from ops.watch.ledger import Ledger

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


def directives(name: str) -> dict[str, list[str]]:
    """A unit's settings by name, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).extend(value.split())
    return found


def test_the_sandbox_leaves_the_watchdog_what_it_writes() -> None:
    """systemd.exec(5): with ProtectSystem=strict, only StateDirectory= and ReadWritePaths= may be written."""
    unit = directives("gte-ops-watchdog.service")
    assert unit["ProtectSystem"] == ["strict"]
    writable = [Path("/var/lib") / name for name in unit["StateDirectory"]]
    writable += [Path(path.lstrip("-+")) for path in unit.get("ReadWritePaths", [])]
    settings = Settings()
    ledger = Ledger(Path(settings.watchdog.state_file))
    written = [
        ledger.path,
        ledger.pause_path,
        Path(settings.watchdog.evidence_dir or ledger.path.with_name("watchdog-evidence")),
        Path(settings.watchdog.metrics_file or ledger.path.with_suffix(".prom")),
    ]
    for path in written:
        assert any(path.is_relative_to(directory) for directory in writable), path


def test_the_sandbox_leaves_the_watchdog_whom_it_signals_and_what_it_reads() -> None:
    """capabilities(7): CAP_KILL for processes of the service's user, CAP_SYS_PTRACE for their stacks, /proc/pid/fd and
    syscall, CAP_DAC_READ_SEARCH for their logs and a control socket. And nothing that it has no use for."""
    unit = directives("gte-ops-watchdog.service")
    assert sorted(unit["CapabilityBoundingSet"]) == ["CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SYS_PTRACE"]
    assert "User" not in unit, "without root these capabilities are not there"
    assert "ProtectProc" not in unit
    assert "PrivatePIDs" not in unit
    # AF_UNIX: systemctl, the notify socket, the control socket. AF_INET*: probes and messages. AF_NETLINK: interfaces.
    assert set(unit["RestrictAddressFamilies"]) >= {"AF_UNIX", "AF_INET", "AF_INET6"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_sandbox_leaves_the_watchdog_the_system_calls_it_makes() -> None:
    allowed: set[str] = set()
    groups = directives("gte-ops-watchdog.service")["SystemCallFilter"]
    while groups:
        name = groups.pop()
        if not name.startswith("@"):
            allowed.add(name)
            continue
        listed = subprocess.run(
            ["systemd-analyze", "syscall-filter", name],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        groups += [
            word for line in listed.stdout.splitlines()[1:] if (word := line.strip()) and word[0] != "#"
        ]
    # Signals through a pidfd, py-spy, the lock, the state, the clocks, and the start command's own session.
    assert allowed >= {
        "pidfd_open", "pidfd_send_signal", "kill", "process_vm_readv", "ptrace", "flock", "fsync", "rename", "mkdir",
        "clock_gettime", "setsid", "execve", "prlimit64", "connect", "sendto",
    }  # fmt: skip
