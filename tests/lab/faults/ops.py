"""The safeguards themselves."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from tests.lab.faults.case import answers, fault
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def _holds(stack: Stack) -> bool:
    """One round of the watchdog, and whether it holds still after it."""
    stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
    ran = stack.gte_ops("watchdog", "status", "--format", "json", "--config", str(stack.config_file))
    return bool(json.loads(ran.stdout)["holding"])


def _predicts(stack: Stack) -> bool:
    return stack.predict().status == 200


@fault("OPS001", sees=_predicts, severity="warn")
def rule_for_nginx_alone(stack: Stack) -> None:
    rule = stack.logrotate / "gte-api"
    rule.write_text(rule.read_text().replace("/*.log {", "/gte-access.log {"))


@fault("OPS001", sees=_predicts, severity="warn")
def rule_compresses_without_postrotate(stack: Stack) -> None:
    (stack.logrotate / "gte-api").write_text(f"{stack.logs}/*.log {{\n    daily\n    compress\n}}\n")


@fault("OPS001", sees=_predicts, severity="warn")
def rule_is_writable_by_others(stack: Stack) -> None:
    """logrotate passes over it."""
    (stack.logrotate / "gte-api").chmod(0o666)


@fault("OPS001", sees=_predicts, severity="warn")
def rule_belongs_to_another_user(stack: Stack) -> None:
    """logrotate passes over it, too (logrotate.c, "file owner is wrong")."""
    os.chown(stack.logrotate / "gte-api", 65534, 65534)


@fault("OPS002", sees=_predicts, severity="warn")
def log_was_renamed_and_nobody_told(stack: Stack) -> None:
    stack.nginx_access_log.rename(stack.nginx_access_log.with_name("gte-access.log.1"))
    stack.nginx_access_log.touch()


@fault("OPS002", sees=_predicts, severity="warn")
def log_was_removed_to_make_room(stack: Stack) -> None:
    stack.gunicorn_access_log.unlink()


def _without_backup(stack: Stack) -> None:
    for path in stack.backups.iterdir():
        path.unlink()


@fault("OPS003", sees=_predicts, severity="warn")
def nobody_makes_backups(stack: Stack) -> None:
    _without_backup(stack)


@fault("OPS003", sees=_predicts, severity="warn")
def backups_have_stopped(stack: Stack) -> None:
    _without_backup(stack)
    stack.write_backup(ago=9 * 86400)


@fault("OPS004", sees=_predicts, severity="fail")
def newest_backup_has_a_flipped_bit(stack: Stack) -> None:
    path = stack.write_backup(ago=60)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@fault("OPS004", sees=_predicts, severity="fail")
def disk_was_full_when_the_guides_backup_was_made(stack: Stack) -> None:
    """Its script does not look: half an archive lies there."""
    _without_backup(stack)
    archive = _guides_backup(stack)
    archive.write_bytes(archive.read_bytes()[:-200])


@fault("OPS005", sees=_predicts, severity="warn")
def guides_backup_of_links(stack: Stack) -> None:
    _without_backup(stack)
    _guides_backup(stack)


def _guides_backup(stack: Stack) -> Path:
    """The guide's line, run where its commands are."""
    archive = stack.app_dir / f"gte-prod-backup-{time.strftime('%Y%m%d')}.tar.gz"
    live = stack.letsencrypt / "live" / stack.domain
    subprocess.run(
        ["tar", "-czf", str(archive), str(stack.site_file), f"{live}/"], check=True, capture_output=True
    )
    return archive


@fault("OPS006", sees=_predicts, severity="warn")
def nothing_runs_the_watchdog(stack: Stack) -> None:
    (stack.cron / "gte-ops").unlink()


@fault("OPS006", sees=_predicts, severity="warn")
def cron_has_not_run_the_watchdog_for_hours(stack: Stack) -> None:
    stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
    state = stack.run / "watchdog.json"
    written = json.loads(state.read_text())
    # A machine that booted later than that has a negative time here: it only has to be as long ago.
    for clock in ("wall", "boottime"):
        written["clocks"][clock] -= 4 * 3600
    state.write_text(json.dumps(written))


@fault("OPS007", sees=answers(502), severity="warn", first="GUN001", beside=("GUN001",))
def watchdog_has_given_up(stack: Stack) -> None:
    """Its start command does not start anything, and its budget is one restart."""
    stack.config["gunicorn"]["start_command"] = ["/bin/false"]
    stack.config["watchdog"] |= {"failures": 1, "interval": "1s"}
    stack.config["watchdog.restarts"] = {"budget": 1, "within": "30m"}
    stack.write_config()
    stack.kill_gunicorn()
    wait_for(lambda: _holds(stack), "the watchdog to hold still", within=60)
