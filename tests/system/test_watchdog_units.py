"""The unit files and the cron entry: systemd takes every line, and what they name is what the toolkit has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.deployment.render import Deployment, render
from ops.settings import Settings
from ops.supervision.state_store import StateStore

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
    state_store = StateStore(Path(settings.watchdog.state_file))
    written = [
        state_store.path,
        state_store.pause_path,
        Path(settings.watchdog.evidence_dir or state_store.path.with_name("watchdog-evidence")),
        Path(settings.watchdog.metrics_file or state_store.path.with_suffix(".prom")),
    ]
    for path in written:
        assert any(path.is_relative_to(directory) for directory in writable), path


def test_the_sandbox_leaves_the_watchdog_whom_it_signals_and_what_it_reads() -> None:
    """capabilities(7): CAP_KILL for processes of the service's user, CAP_SYS_PTRACE for their stacks, /proc/pid/fd and
    syscall, CAP_DAC_READ_SEARCH for their logs and a control socket, CAP_SETUID and CAP_SETGID to start programs as
    other users. And nothing that it has no use for."""
    unit = directives("gte-ops-watchdog.service")
    assert sorted(unit["CapabilityBoundingSet"]) == [
        "CAP_DAC_READ_SEARCH",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_PTRACE",
    ]
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
        "clock_gettime", "setsid", "execve", "prlimit64", "connect", "sendto", "setresuid", "setresgid", "setgroups",
    }  # fmt: skip


# Of 10; the figures are systemd's (systemd-analyze(1), security), and the watchdog's is as good as its work allows:
# docs/privileges.md.
LIMITS = {
    "gte-api.service": 1.5,
    "gte-ops-backup.service": 3.0,
    "gte-ops-cert.service": 3.0,
    "gte-ops-drill.service": 3.0,
    "gte-ops-watchdog.service": 3.1,
}
ELSEWHERE = Deployment(
    unit="nlp.service",
    app_dir="/home/nlp/app",
    programs="/home/nlp/app/venv/bin",
    gte_ops="/usr/local/bin/gte-ops",
    daemon=True,
    gunicorn_pidfile="/run/nlp.pid",
    gunicorn_access_log="/var/log/nlp-access.log",
    gunicorn_error_log="/var/log/nlp-error.log",
    gunicorn_owner=("nlp", "nlp"),
    settings_file="/srv/gte-ops.toml",
    watchdog_writes=("/srv/state", "/run"),
    backup_dir="/srv/backups",
    letsencrypt_dir="/srv/letsencrypt",
)


def exposure(unit: Path) -> float:
    """What ``systemd-analyze security`` makes of a unit file: 0 closed, 10 open."""
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", ran.stdout)
    assert found is not None, ran.stdout + ran.stderr
    return float(found[1])


def rendered(deployment: Deployment, directory: Path) -> dict[str, Path]:
    """The rendered services by the names of the examples."""
    units = {}
    for file in render("systemd", deployment):
        name = Path(file.path).name
        if name.endswith(".service"):
            path = directory / name
            path.write_text(file.text, encoding="utf-8")
            units["gte-api.service" if name == deployment.unit else name] = path
    return units


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("deployment", [Deployment(), ELSEWHERE], ids=["example", "elsewhere"])
def test_what_an_attacker_may_do_from_a_unit_is_little(deployment: Deployment, tmp_path: Path) -> None:
    units = rendered(deployment, tmp_path)
    assert set(units) == set(LIMITS)
    measured = {name: exposure(unit) for name, unit in units.items()}
    assert {name: figure for name, figure in measured.items() if figure > LIMITS[name]} == {}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_figure_sees_a_sandbox_that_is_gone(tmp_path: Path) -> None:
    unit = rendered(Deployment(), tmp_path)["gte-ops-cert.service"]
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "").replace("User=gte-ops", "User=root"))
    assert exposure(unit) > exposure(DEPLOY / "systemd" / "gte-ops-cert.service")


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_refused_call_fails_and_ends_nobody(name: str) -> None:
    """systemd.exec(5), SystemCallErrorNumber=: without it a refused call ends the process with SIGSYS."""
    unit = directives(name)
    assert unit["SystemCallErrorNumber"] == ["EPERM"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]


def test_who_reads_as_root_does_is_not_root_where_that_will_do() -> None:
    for name in ("gte-ops-cert.service", "gte-ops-drill.service"):
        unit = directives(name)
        assert unit["User"] == unit["Group"] == ["gte-ops"]
        assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_DAC_READ_SEARCH"]
    assert directives("gte-api.service")["User"] == ["gte-api"]
    assert directives("gte-api.service")["CapabilityBoundingSet"] == []


def test_a_unit_of_root_leaves_run_alone() -> None:
    for name in ("gte-ops-backup.service", "gte-ops-watchdog.service"):
        assert directives(name)["ReadOnlyPaths"] == ["/run"]


def test_the_backup_writes_where_archives_and_certbots_lock_lie() -> None:
    settings = Settings()
    written = [path.lstrip("-") for path in directives("gte-ops-backup.service")["ReadWritePaths"]]
    assert written == [settings.backup.dir, settings.tls.letsencrypt_dir]


CHECKS = {"gte-ops-cert": "cert check", "gte-ops-backup": "backup drill"}


def as_the_account(file: str) -> str:
    """What a crontab's line for a check puts before the command: the account and its one power."""
    lines = (DEPLOY / "cron" / file).read_text(encoding="utf-8").splitlines()
    (entry,) = [line for line in lines if f"gte-ops {CHECKS[file]} " in line]
    assert entry.split()[5:8] == ["root", "$AS_GTE_OPS", "gte-ops"]
    (variable,) = [line for line in lines if line.startswith("AS_GTE_OPS=")]
    return variable.partition("=")[2]


@pytest.mark.parametrize("file", CHECKS)
def test_cron_runs_the_checks_as_their_account(file: str) -> None:
    words = as_the_account(file).split()
    assert words[words.index("--reuid") + 1] == words[words.index("--regid") + 1] == "gte-ops"
    assert {"--clear-groups", "--no-new-privs"} <= set(words)


@pytest.mark.skipif(os.geteuid() != 0, reason="cron runs it as root")
@pytest.mark.parametrize("file", CHECKS)
def test_from_cron_the_checks_read_every_file_and_write_none(file: str, tmp_path: Path) -> None:
    """The line's own words, with an account that every host has."""
    words = as_the_account(file)
    words = words.replace("--reuid gte-ops", "--reuid nobody").replace("--regid gte-ops", "--regid nogroup")
    secret = tmp_path / "secret"
    secret.write_text("read\n")
    secret.chmod(0o600)
    show = f"id -un; cat {secret}; grep ^Cap /proc/self/status; echo changed >{secret}"
    ran = subprocess.run(
        ["/bin/sh", "-c", f"$AS_GTE_OPS sh -c '{show}'"],
        env={"PATH": "/usr/bin:/bin", "AS_GTE_OPS": words},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    user, read, *powers = ran.stdout.splitlines()
    assert (user, read) == ("nobody", "read"), ran.stderr
    # CAP_DAC_READ_SEARCH is bit 2 (linux/capability.h).
    assert {int(line.split()[1], 16) for line in powers} == {1 << 2}
    assert secret.read_text() == "read\n"
