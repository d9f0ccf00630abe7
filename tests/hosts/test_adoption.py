"""`gte-ops adopt` on hosts that were set up by hand, with clients that ask all the while: there and back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.deployment.render import NginxSite
from tests.hosts.host import HOME
from tests.hosts.layer import DOMAIN, PYTHONS, REPOSITORY
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import INSTALL_SECONDS, LISTING
from tests.lab.authority import Authority
from tests.lab.guide import guide_site
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

# A process that is started again has another number.
LISTING_BUT_FOR_PIDS = f"({LISTING}) | sed 's,^\\(/run/gte-api/.*/\\)[0-9]*,\\1PID,'"
CLIENTS = 4
# The guide and our site both allow a client 60 predictions a minute.
PAUSE = 1.2
# The guide's application, with its form of request and answer.
APPLICATION = """
from flask import Flask, jsonify, request

app = Flask(__name__)

@app.route("/predict", methods=["POST"])
def predict():
    return jsonify({"result": {"entities": [], "old": True, "text": request.get_json()["input_text"]}})

if __name__ == '__main__':
    app.run(host='127.0.0.1', port=5000, debug=False)
"""
# The guide's file, in the lines that it must have been meant in.
GUNICORN = """
import multiprocessing
bind = "127.0.0.1:8000"
bind_ssl = None
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "sync"
worker_connections = 1000
timeout = 30
keepalive = 5
max_requests = 1000
max_requests_jitter = 100
daemon = True
pidfile = "/var/run/gte-gunicorn.pid"
accesslog = "/var/log/gte-gunicorn-access.log"
errorlog = "/var/log/gte-gunicorn-error.log"
loglevel = "info"
capture_output = True
enable_stdio_inheritance = True
preload = True
"""
START = """#!/bin/bash
cd /root/build
source venv/bin/activate
# 杀掉旧进程(如果存在)
if [ -f "/var/run/gte-gunicorn.pid" ]; then
    kill $(cat /var/run/gte-gunicorn.pid)
    rm -f /var/run/gte-gunicorn.pid
fi
# 启动 gunicorn
gunicorn -c gunicorn.conf.py app:app
"""
UNIT = """
[Unit]
Description=the service, as people write it
[Service]
WorkingDirectory=/root/build
Type=forking
PIDFile=/run/gte-gunicorn.pid
ExecStart=/root/build/venv/bin/gunicorn -c gunicorn.conf.py app:app
Restart=always
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module", params=sorted(PYTHONS))
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def guide(environment: Path, suite: str) -> Iterator[Machine]:
    """A host as the guide leaves it before its gunicorn is started; gte-ops is installed in /opt/gte-api/venv."""
    with Machine(environment, suite=suite) as host:
        authority = Authority()
        issued = authority.issue([DOMAIN])
        host.write("/root/root.pem", authority.root.pem.decode())
        host.sh("cat /root/root.pem >>/etc/ssl/certs/ca-certificates.crt")
        live = f"/etc/letsencrypt/live/{DOMAIN}"
        host.write(f"{live}/fullchain.pem", issued.fullchain_pem.decode())
        host.write(f"{live}/privkey.pem", issued.key_pem.decode())
        host.sh("rm -f /etc/nginx/sites-enabled/default; mkdir -p /root/build/iic")
        site = NginxSite(
            domain=DOMAIN,
            public_url=f"https://{DOMAIN}",
            certificate=f"{live}/fullchain.pem",
            private_key=f"{live}/privkey.pem",
            read_timeout="30s",
            max_body="50M",
        )
        traps = (
            "health answered by nginx",
            "user agent filter",
            "connection upgrade",
            "limit_req answers 503",
        )
        host.write("/etc/nginx/conf.d/gte-api.conf", guide_site(site, traps))  # type: ignore[arg-type]
        host.write("/root/build/app.py", APPLICATION)
        host.write("/root/build/gunicorn.conf.py", GUNICORN)
        host.write("/root/build/start-prod.sh", START)
        # The guide's own environment, with what the packages' index would give: another one's packages.
        host.sh(
            "cd /root/build && python3 -m venv --without-pip venv"
            " && echo /opt/gte-api/venv/lib/python3.*/site-packages >all.pth"
            " && mv all.pth venv/lib/python3.*/site-packages"
            " && sed 's,^#!.*,#!/root/build/venv/bin/python3,' /opt/gte-api/venv/bin/gunicorn >venv/bin/gunicorn"
            " && chmod +x venv/bin/gunicorn start-prod.sh && chmod -R 755 iic"
            " && nginx -t && systemctl restart nginx && systemctl enable nginx"
        )
        yield host


@pytest.fixture
def load(guide: Machine, tmp_path: Path) -> Iterator[Path]:
    """Clients on another address, that ask while the test runs: a line a request."""
    results = tmp_path / "requests"
    results.touch()
    bridge = json.loads((HOME / "hosts" / guide.name / "host.json").read_text())["bridge"]
    command = ("ip", "netns", "exec", bridge, sys.executable, "-m", "tests.hosts.load")
    pending: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        pending.append(
            subprocess.Popen(
                [*command, guide.address, DOMAIN, str(CLIENTS), str(results), str(PAUSE)], cwd=REPOSITORY
            )
        )

    guide.begin_load = begin  # type: ignore[attr-defined]
    yield results
    for process in pending:
        process.terminate()
        process.wait(20)


def failures(results: Path) -> tuple[int, list[str]]:
    """How many requests were answered, and those that were not answered with 200."""
    lines = results.read_text().splitlines()
    return len(lines), [line for line in lines if line.split()[2] != "200"]


def served_by(host: Machine) -> str:
    """Who answers a prediction through nginx: the guide's application, or the service."""
    body = host.sh(
        f"curl --silent --max-time 20 -A test -H 'Content-Type: application/json'"
        f' -d \'{{"task_type": "ner", "input_text": "2022年北京"}}\' https://{DOMAIN}/predict',
        check=False,
    )
    return "former" if '"old"' in body else "new" if '"entities"' in body else body


def started_by_script(host: Machine) -> None:
    host.sh("echo '@reboot bash /root/build/start-prod.sh' | crontab -")
    # Its output stays open in the daemon (enable_stdio_inheritance).
    host.sh("bash /root/build/start-prod.sh </dev/null >/dev/null 2>&1")


def started_by_unit(host: Machine) -> None:
    host.write("/etc/systemd/system/gte.service", UNIT)
    host.sh("systemctl daemon-reload && systemctl enable --now gte.service")


def started_by_hand(host: Machine) -> None:
    """README's last line, with nohup: the service itself, without a unit."""
    host.sh("rm -r /root/build")
    host.sh(
        "cd /opt && GTE_ENGINE=embedded GTE_BIND=127.0.0.1:8000 GTE_TIMEOUT=31"
        " nohup /opt/gte-api/venv/bin/python3 /opt/gte-api/venv/bin/gunicorn -c python:service.gunicorn_conf"
        " 'service.app:create_app()' </dev/null >/var/log/nohup.out 2>&1 &"
    )


STARTS = {"script": started_by_script, "unit": started_by_unit, "hand": started_by_hand}


@pytest.mark.parametrize("start", STARTS)
def test_a_host_is_taken_over_and_given_back_without_a_failed_request(
    guide: Machine, load: Path, start: str
) -> None:
    STARTS[start](guide)
    former = "former" if start != "hand" else "new"
    wait_for(lambda: served_by(guide) == former, "a prediction", within=180, every=0.5)
    before = guide.sh(LISTING_BUT_FOR_PIDS)
    crontab = guide.sh("crontab -l", check=False)
    planned = guide.run(GTE_OPS, "adopt", "--dry-run", seconds=INSTALL_SECONDS).stdout
    assert "NGX010" in planned, planned
    assert "+++ /etc/nginx/conf.d/gte-api.conf" in planned
    assert ("systemctl disable --now gte.service" if start == "unit" else "kill -TERM") in planned
    assert guide.sh(LISTING_BUT_FOR_PIDS) == before, "a dry run changes nothing"

    guide.begin_load()  # type: ignore[attr-defined]
    wait_for(lambda: failures(load)[0] > 20, "clients", within=60)
    # An address that another host had a moment ago may take some seconds to be this one's.
    load.write_text("")
    report = guide.run(GTE_OPS, "adopt", seconds=INSTALL_SECONDS)
    assert "adopt --undo" in report.stdout
    assert served_by(guide) == "new"
    assert guide.sh("systemctl is-active gte-api.service gte-ops-watchdog.service").split() == ["active"] * 2
    assert "127.0.0.1:8000" not in guide.sh("ss -ltn"), "the former service has ended"
    if start == "script":
        assert guide.sh("crontab -l").startswith("# gte-ops adopt: @reboot")
    if start == "unit":
        assert guide.sh("systemctl is-enabled gte.service", check=False).strip() == "disabled"
    assert "Nothing to do" in guide.run(GTE_OPS, "adopt", seconds=INSTALL_SECONDS).stdout
    total, failed = failures(load)
    assert failed == [], f"{len(failed)} of {total}"

    guide.run(GTE_OPS, "adopt", "--undo", "--purge", seconds=INSTALL_SECONDS)
    assert served_by(guide) == former
    if start == "unit":
        assert guide.sh("systemctl is-enabled gte.service; systemctl is-active gte.service").split() == [
            "enabled",
            "active",
        ]
    assert guide.sh("crontab -l", check=False) == crontab
    time.sleep(1)  # clients go on for a while
    total, failed = failures(load)
    print(f"{start}: {total} requests, {len(failed)} failed")  # noqa: T201
    assert failed == [], f"{len(failed)} of {total}"
    assert guide.sh(LISTING_BUT_FOR_PIDS) == before
