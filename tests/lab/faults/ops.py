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


@fault("OPS007", sees=answers(502), severity="warn", first="GUN001", beside=("GUN001",))
def watchdog_has_given_up(stack: Stack) -> None:
    """Its start command does not start anything, and its budget is one restart."""
    stack.config["gunicorn"]["start_command"] = ["/bin/false"]
    stack.config["watchdog"] |= {"failures": 1, "interval": "1s"}
    stack.config["watchdog.restarts"] = {"budget": 1, "within": "30m"}
    stack.write_config()
    stack.kill_gunicorn()
    wait_for(lambda: _holds(stack), "the watchdog to hold still", within=60)
