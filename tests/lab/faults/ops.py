"""The safeguards themselves."""

from __future__ import annotations

import json

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


@fault("OPS002", sees=_predicts, severity="warn")
def log_was_renamed_and_nobody_told(stack: Stack) -> None:
    stack.nginx_access_log.rename(stack.nginx_access_log.with_name("gte-access.log.1"))
    stack.nginx_access_log.touch()


@fault("OPS002", sees=_predicts, severity="warn")
def log_was_removed_to_make_room(stack: Stack) -> None:
    stack.gunicorn_access_log.unlink()


@fault("OPS007", sees=answers(502), severity="warn", first="GUN001", beside=("GUN001",))
def watchdog_has_given_up(stack: Stack) -> None:
    """Its start command does not start anything, and its budget is one restart."""
    stack.config["gunicorn"]["start_command"] = ["/bin/false"]
    stack.config["watchdog"] |= {"failures": 1, "interval": "1s"}
    stack.config["watchdog.restarts"] = {"budget": 1, "within": "30m"}
    stack.write_config()
    stack.kill_gunicorn()
    wait_for(lambda: _holds(stack), "the watchdog to hold still", within=60)
