"""Rotation by the real logrotate while requests flow: not one line is lost, and none lands in a file put away.

Each request has a number of its own in its path, so that a line lost, doubled or torn is seen. The whole proof
(`--long`) sends 100,000 requests through at least 15 rotations.
"""

from __future__ import annotations

import gzip
import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ops.collect.logs.open_logs import open_logs
from ops.deployment.render import Deployment, NginxSite, render
from ops.facts.safeguards import LogFile
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

APP = """
from flask import Flask

app = Flask(__name__)

@app.route("/", defaults={"path": ""})
@app.route("/<path:path>")
def answer(path):
    return "ok"
"""
UNLIMITED = {"rate": "6000000r/m", "burst": "100000"}
CLIENTS = 2
LINE = re.compile(rb'"GET /r/(\d+) HTTP/1\.[01]" 200 ')

pytestmark = pytest.mark.skipif(
    shutil.which("logrotate") is None or os.geteuid() != 0,
    reason="needs logrotate, and root as on a host: nginx's workers log as another user",
)


def stack(worker_class: str) -> Stack:
    """Two workers, no rate limit in the way."""
    return Stack(app=APP, worker_class=worker_class, threads=4, workers=2, site=UNLIMITED)


def deployment(host: Stack) -> Deployment:
    """What render would find on this host."""
    return Deployment(
        site=NginxSite(access_log=str(host.nginx_access_log), error_log=str(host.nginx_error_log)),
        nginx_pidfile=str(host.nginx_pidfile),
        nginx_owner=("nobody", "nogroup"),
        gunicorn_pidfile=str(host.gunicorn_pidfile),
        gunicorn_access_log=str(host.gunicorn_access_log),
        gunicorn_error_log=str(host.gunicorn_error_log),
        gunicorn_owner=("root", "root"),
        gunicorn_su=None,
    )


class Rotator:
    """logrotate with the rules of ``values``, installed on a host."""

    def __init__(self, host: Stack, values: Deployment, *, maxsize: str = "20k", path: str = "") -> None:
        self.host = host
        self.rules = host.directory / "rules"
        (rendered,) = render("logrotate", values)
        self.rules.write_text(rendered.text.replace("maxsize 100M", f"maxsize {maxsize}"))
        self.rules.chmod(0o644)
        self.environment = host.environment()
        if path:
            self.environment["PATH"] = path + os.pathsep + self.environment["PATH"]

    def run(self, *options: str) -> None:
        ran = subprocess.run(
            ["logrotate", "-s", str(self.host.directory / "rotated"), *options, str(self.rules)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")

    def wait_until_reopened(self) -> None:
        """Until no process has anything but the present logs open."""
        host = self.host
        paths = (
            host.nginx_access_log,
            host.nginx_error_log,
            host.gunicorn_access_log,
            host.gunicorn_error_log,
        )
        logs = [LogFile(path=str(path), resolved=str(path)) for path in paths]
        current = {log.resolved for log in logs}
        pids = [process.pid for process in host.processes()]

        def reopened() -> bool:
            found = open_logs(pids, logs, 0.0)
            assert isinstance(found, tuple)
            return bool(found) and all(item.path in current and not item.deleted for item in found)

        wait_for(reopened, "every process to open its logs anew", within=20)


class Sender:
    """Clients that ask for one number after the other until told to stop."""

    def __init__(self, host: Stack) -> None:
        self.host = host
        self.answered: list[int] = [0] * CLIENTS
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]

    @property
    def total(self) -> int:
        return sum(self.answered)

    def _ask(self, client: int) -> None:
        context = ssl.create_default_context(cafile=str(self.host.ca_file))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(*self.host.https, context=context, timeout=30)
        while not self._ended.is_set():
            number = self.answered[client] * CLIENTS + client
            try:
                connection.request("GET", f"/r/{number}", headers={"Host": self.host.domain})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{number}: {error!r}")
                return
            if answer.status != 200:
                self.failures.append(f"{number}: {answer.status}")
                return
            self.answered[client] += 1

    @contextmanager
    def sending(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join(60)

    @property
    def numbers(self) -> Counter[int]:
        return Counter(
            n * CLIENTS + client for client, count in enumerate(self.answered) for n in range(count)
        )


def logged(log: Path) -> Counter[int]:
    """How often each request's number stands in the log and in all that was rotated from it."""
    found: Counter[int] = Counter()
    for path in [log, *log.parent.glob(f"{log.name}.*")]:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found.update(int(number) for number in LINE.findall(content))
    return found


def rotate_under_load(host: Stack, rotator: Rotator, requests: int, rotations: int) -> Sender:
    """Sends ``requests`` at least, and rotates at least so often meanwhile; each log whenever it has grown enough."""
    sender = Sender(host)
    logs = (host.nginx_access_log, host.gunicorn_access_log)
    put_away: dict[Path, int] = {}
    done = 0
    with sender.sending():
        while done < rotations or sender.total < requests:
            wanted = sender.total + requests // (rotations + 1)
            wait_for(lambda: sender.failures or sender.total >= wanted, "requests", within=120, every=0.02)  # noqa: B023
            assert not sender.failures
            for path, size in put_away.items():
                assert path.stat().st_size == size, f"{path.name} was written to after its process reopened"
            rotator.run()
            rotator.wait_until_reopened()
            done += 1
            for log in logs:
                previous = log.with_name(f"{log.name}.1")
                assert previous.exists(), f"{log.name} was not rotated"
                put_away[previous] = previous.stat().st_size
    assert not sender.failures
    return sender


def check_nothing_is_lost(host: Stack, sender: Sender) -> None:
    for log in (host.nginx_access_log, host.gunicorn_access_log):
        wait_for(lambda: logged(log).total() >= sender.total, f"{log.name} to be written", within=5)  # noqa: B023
        assert logged(log) == sender.numbers


@pytest.mark.parametrize("worker_class", ["gthread", "sync"])
def test_no_line_is_lost_by_pidfile(worker_class: str) -> None:
    with stack(worker_class) as host:
        rotator = Rotator(host, deployment(host))
        check_nothing_is_lost(host, rotate_under_load(host, rotator, 2000, 4))
        owners = {
            path.name: (path.owner(), path.group(), path.stat().st_mode & 0o777)
            for log in (host.nginx_access_log, host.gunicorn_access_log)
            for path in (log, log.with_name(f"{log.name}.1"))
        }
        assert set(owners.values()) >= {("nobody", "nogroup", 0o640), ("root", "root", 0o640)}
        assert owners[host.nginx_access_log.name] == ("nobody", "nogroup", 0o640)
        assert owners[host.gunicorn_access_log.name] == ("root", "root", 0o640)
        # The one just renamed may still be written to, all older ones are compressed.
        for log in (host.nginx_access_log, host.gunicorn_access_log):
            names = {path.name.removeprefix(log.name) for path in log.parent.glob(f"{log.name}.*")}
            assert names >= {".1", ".2.gz", ".3.gz"}
            assert not {name for name in names if not name.endswith(".gz")} - {".1"}


def test_no_line_is_lost_by_systemd(tmp_path: Path) -> None:
    """systemctl is a stand-in: there is no systemd here. It is asked what systemd would be, and signals as told."""
    with stack("gthread") as host:
        (tmp_path / "systemctl").write_text(
            f"""#!/bin/sh
echo "$@" >>{tmp_path}/asked
case "$*" in
"--quiet is-active nginx.service" | "--quiet is-active gte-api.service") exit 0 ;;
"kill --kill-who=main --signal=USR1 nginx.service") kill -USR1 $(cat {host.nginx_pidfile}) ;;
"kill --kill-who=main --signal=USR1 gte-api.service") kill -USR1 $(cat {host.gunicorn_pidfile}) ;;
*) exit 1 ;;
esac
"""
        )
        (tmp_path / "systemctl").chmod(0o755)
        values = replace(deployment(host), nginx_pidfile="/nonexistent", gunicorn_pidfile="/nonexistent")
        check_nothing_is_lost(
            host, rotate_under_load(host, Rotator(host, values, path=str(tmp_path)), 1000, 2)
        )
        asked = set((tmp_path / "asked").read_text().splitlines())
        assert "kill --kill-who=main --signal=USR1 nginx.service" in asked
        assert "kill --kill-who=main --signal=USR1 gte-api.service" in asked


def test_a_process_that_took_over_the_number_is_left_alone() -> None:
    with stack("gthread") as host:
        bystander = subprocess.Popen(["sleep", "60"])
        try:
            for pidfile in (host.nginx_pidfile, host.gunicorn_pidfile):
                pidfile.with_suffix(".other").write_text(f"{bystander.pid}\n")
            values = replace(
                deployment(host),
                nginx_pidfile=str(host.nginx_pidfile.with_suffix(".other")),
                gunicorn_pidfile=str(host.gunicorn_pidfile.with_suffix(".other")),
            )
            host.request(path="/r/1")
            # nginx logs after it has answered, and an empty log is not rotated.
            wait_for(
                lambda: host.nginx_access_log.stat().st_size, "the request to be logged", within=5, every=0.02
            )
            Rotator(host, values).run("-f")
            assert host.nginx_access_log.with_name("gte-access.log.1").exists()
            assert bystander.poll() is None
        finally:
            bystander.send_signal(signal.SIGKILL)
            bystander.wait()


def test_a_directory_that_is_not_roots_alone_is_rotated_as_its_owner() -> None:
    with stack("gthread") as host:
        host.request(path="/r/1")
        shutil.chown(host.logs, "nobody", "nogroup")
        host.logs.chmod(0o775)
        owner = ("nobody", "nogroup")
        for log in host.logs.iterdir():
            shutil.chown(log, *owner)
        values = replace(deployment(host), nginx_su=owner, gunicorn_su=owner, gunicorn_owner=owner)
        rotator = Rotator(host, values)
        rotator.run("-f")
        rotator.wait_until_reopened()
        assert host.gunicorn_access_log.with_name(f"{host.gunicorn_access_log.name}.1").owner() == "nobody"


@pytest.mark.long
@pytest.mark.parametrize("worker_class", ["gthread", "sync"])
def test_a_hundred_thousand_lines_through_fifteen_rotations(worker_class: str) -> None:
    with stack(worker_class) as host:
        # 16 rotations of each log at most stay: none is thrown away while its lines are counted.
        rotator = Rotator(host, deployment(host))
        rotator.rules.write_text(rotator.rules.read_text().replace("rotate 14", "rotate 1000"))
        sender = rotate_under_load(host, rotator, 100_000, 15)
        check_nothing_is_lost(host, sender)
