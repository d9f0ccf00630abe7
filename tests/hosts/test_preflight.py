"""`gte-ops preflight` on a host: each thing it confirms is broken, or hidden, in turn, and is confirmed no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.layer import DOMAIN, SETTINGS
from tests.hosts.machine import GTE_OPS, Machine

pytestmark = pytest.mark.long

STOP = "gte-ops watchdog pause 1h; systemctl stop gte-api;"
UNIT = "/etc/systemd/system/gte-api.service"
_DROP_IN = "mkdir -p {UNIT}.d; printf '[Service]\\n{LINES}\\n' >{UNIT}.d/x.conf; systemctl daemon-reload;"
_OTHER_NAME = (
    "cd /etc/letsencrypt/live/*/ && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=other.example"
    " -addext subjectAltName=DNS:other.example -keyout /root/key.pem -out /root/chain.pem 2>/dev/null"
    " && cat /root/key.pem >privkey.pem && cat /root/chain.pem >fullchain.pem;"
)
_SLOW = "printf '#!/bin/sh\\nsleep 30\\n' >/root/slow && chmod 755 /root/slow && cp /root/slow {PROGRAM};"


def drop_in(lines: str) -> str:
    return STOP + _DROP_IN.replace("{LINES}", lines).replace("{UNIT}", UNIT)


# What breaks or hides a thing; the confirmation, what it is called then, and the cause.
BROKEN = {
    "unit-missing": (STOP + f"rm {UNIT}; systemctl daemon-reload", "unit", "fail", "GUN030"),
    "unit-masked": (STOP + f"rm {UNIT}; systemctl mask gte-api", "unit", "fail", "GUN031"),
    "program-gone": (STOP + "mv /opt/gte-api/venv/bin/gunicorn /root/", "unit", "fail", "GUN033"),
    "directory-gone": (drop_in("WorkingDirectory=/nowhere"), "unit", "fail", "GUN034"),
    "account-gone": (drop_in("User=nobody-here"), "unit", "fail", "GUN035"),
    "variables-gone": (drop_in("EnvironmentFile=/etc/gte-api/more"), "unit", "fail", "GUN036"),
    "variables-gone-of-a-running-service": (
        drop_in("EnvironmentFile=/etc/gte-api/more").removeprefix(STOP),
        "unit",
        "fail",
        "GUN036",
    ),
    "log-not-writable": (
        drop_in("Environment=GTE_ERROR_LOG=/srv/logs/error.log\\nReadWritePaths=-/srv/logs")
        + "mkdir -m 0755 /srv/logs",
        "unit",
        "fail",
        "GUN018",
    ),
    "log-forbidden-by-the-sandbox": (
        drop_in("Environment=GTE_ERROR_LOG=/srv/logs/error.log") + "install -d -o gte-api /srv/logs",
        "unit",
        "fail",
        "GUN051",
    ),
    "sandbox-of-a-directory-gone": (drop_in("ReadWritePaths=/srv/data"), "unit", "fail", "GUN051"),
    "network-of-its-own": (drop_in("PrivateNetwork=yes"), "unit", "fail", "GUN051"),
    "condition-not-met": (
        STOP
        + _DROP_IN.replace("[Service]", "[Unit]")
        .replace("{LINES}", "ConditionPathExists=/etc/gte-api/enabled")
        .replace("{UNIT}", UNIT),
        "unit",
        "fail",
        "GUN050",
    ),
    "backups-forbidden-by-the-sandbox": (
        "install -d -m 0700 /srv/backups;"
        " printf '\\n[backup]\\ndir = \"/srv/backups\"\\n' >>/etc/gte-ops/gte-ops.toml",
        "safeguards",
        "warn",
        "OPS013",
    ),
    "daemon-reload-forgotten": (STOP + f"echo '# changed' >>{UNIT}", "unit", "fail", "GUN038"),
    "port-held": (
        STOP + "systemd-run --unit=other python3 -m http.server 8000 --bind 127.0.0.1; sleep 3",
        "start",
        "fail",
        "GUN012",
    ),
    "timer-stopped": ("systemctl stop gte-ops-backup.timer", "safeguards", "warn", "OPS009"),
    "watchdog-failing": (
        "mkdir -p /etc/systemd/system/gte-ops-watchdog.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false"
        "\\nType=simple\\n' >/etc/systemd/system/gte-ops-watchdog.service.d/x.conf; systemctl daemon-reload;"
        " systemctl restart gte-ops-watchdog; sleep 2",
        "safeguards",
        "warn",
        "OPS011",
    ),
    "certificate-of-another-name": (_OTHER_NAME, "certificate", "fail", "TLS004"),
    "key-gone": ("rm /etc/letsencrypt/live/*/privkey.pem", "certificate", "fail", "TLS012"),
    "configuration-refused": ("echo nonsense >/etc/nginx/conf.d/x.conf", "nginx", "fail", "NGX003"),
    "name-elsewhere": (f"sed -i 's/.* {DOMAIN}$/192.0.2.77 {DOMAIN}/' /etc/hosts", "name", "fail", "DNS002"),
    "package-gone": (
        STOP + "mv /opt/gte-api/venv/lib/python3*/site-packages/flask-*.dist-info /root/",
        "python",
        "fail",
        "ENV001",
    ),
    "systemd-silent": (_SLOW.format(PROGRAM="/usr/bin/systemctl"), "unit", "unconfirmed", ""),
    "systemd-silent-of-timers": (_SLOW.format(PROGRAM="/usr/bin/systemctl"), "safeguards", "unconfirmed", ""),
    "model-not-there": (
        "sed -i '$a[model]\\ndir = \"/srv/model\"' /etc/gte-ops/gte-ops.toml",
        "model",
        "fail",
        "MOD001",
    ),
}


def confirmations(machine: Machine) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and each confirmation by its id."""
    ran = machine.run(GTE_OPS, "preflight", "--format", "json", check=False)
    document = json.loads(ran.stdout)
    return ran.returncode, {item["id"]: item for item in document["confirmations"]}


def test_on_a_host_that_serves_all_is_confirmed(machine: Machine) -> None:
    code, items = confirmations(machine)
    states = {name: item["status"] for name, item in items.items() if item["status"] != "confirmed"}
    assert (code, states) == (0, {"model": "not_needed"}), items


@pytest.mark.parametrize(("script", "item", "state", "cause"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_or_hidden_is_confirmed_no_more(
    machine: Machine, script: str, item: str, state: str, cause: str
) -> None:
    machine.sh(f"PATH=/opt/gte-api/venv/bin:$PATH; {script}")
    code, items = confirmations(machine)
    assert (items[item]["status"], items[item]["causes"]) == (state, [cause] if cause else []), items[item]
    assert code == {"fail": 2, "warn": 1, "unconfirmed": 3}[state], items
    if state == "unconfirmed":
        assert items[item]["not_judged"]


def test_before_an_installation_what_is_not_there_is_called_so(environment: Path) -> None:
    with Machine(environment) as host:
        host.write("/etc/gte-ops/gte-ops.toml", SETTINGS)
        code, items = confirmations(host)
        states = {name: item["status"] for name, item in items.items() if item["status"] != "confirmed"}
        absent = dict.fromkeys(("site", "certificate", "unit", "safeguards"), "absent")
        assert (code, states) == (0, {"model": "not_needed", **absent}), items
