"""A host that Prometheus watches, and Prometheus itself: real programs on free loopback ports, under one directory.

The files of deploy/prometheus are used as they are, but for addresses and times (docs/monitoring.md says how).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from tests.system.conftest import ROOT, Gunicorn, eventually, free_port, gunicorn
from tests.system.robot_endpoint import Endpoint, robot_endpoint
from tests.system.test_notify_serve import receiver

FILES = ROOT / "deploy" / "prometheus"
HOST = "gte-api.example.com"
START_SECONDS = 60.0
# Small, so that ten clients fill it.
PLACES = 8
SERVICE = {"GTE_MAX_CONCURRENT": "1", "GTE_MAX_QUEUE": str(PLACES - 1), "GTE_QUEUE_TIMEOUT": "60"}
# No client gets all places, and the last goes to one that has none: the service shares them by address.
CLIENTS = tuple(f"127.0.0.{number}" for number in range(1, 11))


def fast(rules: str) -> str:
    """The rules with short times, by the substitution that docs/monitoring.md gives, and a request that is stuck after
    two seconds instead of two minutes."""
    rules = re.sub(r"(?m)^( +(?:for|keep_firing_for):) .*", r"\1 2s", rules)
    rules = re.sub(r"\[[0-9]+m\]", "[20s]", rules)
    return rules.replace("gte_oldest_request_seconds > 120", "gte_oldest_request_seconds > 2")


@dataclass
class Programs:
    """Running programs. ``ports`` by program; ``directory`` holds their files, prometheus.yml and alertmanager.yml."""

    directory: Path
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)

    def start(self, name: str, *command: str) -> None:
        """Start one program; its output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)

    def end(self, name: str) -> None:
        """End a program at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def end_all(self) -> None:
        """End what still runs."""
        for name in list(self.processes):
            self.end(name)

    def start_alertmanager(self) -> None:
        self.start(
            "alertmanager",
            "prometheus-alertmanager",
            "--config.file=alertmanager.yml",
            f"--storage.path={self.directory / 'alertmanager'}",
            "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}",
        )

    def start_prometheus(self, lookback: str = "10s") -> None:
        """``lookback``: so long a series of a job that was removed counts; five minutes otherwise."""
        self.start(
            "prometheus",
            "prometheus",
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={self.directory / 'tsdb'}",
            f"--query.lookback-delta={lookback}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )

    def api(self, path: str, **query: str) -> Any:
        """The data of one answer of Prometheus's API."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float:
        """The one value of an expression; -1 while there is none, or no Prometheus."""
        with contextlib.suppress(OSError):
            result = self.api("query", query=expression)["result"]
            return float(result[0]["value"][1]) if result else -1.0
        return -1.0

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name."""
        alerts = self.api("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


class ShiftedExporter:
    """A node_exporter whose host has a wrong clock: what the real one at ``address`` says, with another time."""

    def __init__(self, address: str) -> None:
        self.address, self.seconds = address, 0.0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                try:
                    with urllib.request.urlopen(f"http://{exporter.address}/metrics", timeout=5) as answer:
                        page = exporter.shifted(answer.read().decode())
                except OSError:
                    self.send_error(502)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(page.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def shifted(self, page: str) -> str:
        """The page with the time ``seconds`` later."""
        return re.sub(
            r"(?m)^node_time_seconds (.*)$",
            lambda match: f"node_time_seconds {float(match[1]) + self.seconds}",
            page,
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Monitoring(Programs):
    """A service that is watched, and the programs that watch it."""

    service: Gunicorn
    robots: Endpoint
    clock: ShiftedExporter

    @property
    def textfiles(self) -> Path:
        return self.directory / "textfiles"

    @property
    def hold(self) -> Path:
        """While it exists, no worker becomes ready."""
        return self.directory / "hold"

    def freeze_service(self) -> None:
        """Stop gunicorn's processes: they accept connections and answer nobody."""
        self._signal_service(signal.SIGSTOP)

    def thaw_service(self) -> None:
        """Let them go on."""
        self._signal_service(signal.SIGCONT)

    def _signal_service(self, number: signal.Signals) -> None:
        master = psutil.Process(self.service.process.pid)
        for process in (*master.children(recursive=True), master):
            # A master that goes on ends the workers that were silent for too long.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def start_nginx(self) -> None:
        self.start("nginx", "nginx", "-c", str(self.directory / "nginx.conf"), "-p", str(self.directory))

    def start_node_exporter(self) -> None:
        disk = self.directory / "disk"
        # A disk of its own, in namespaces that end with the program; it reads the mounts of its process 1.
        script = f'mount -t tmpfs -o size=1m tmpfs {disk} && touch {disk}/kept && exec "$@"'
        self.start(
            "node",
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", script, "sh", "prometheus-node-exporter"),
            "--collector.disable-defaults",
            "--collector.textfile",
            "--collector.time",
            "--collector.filesystem",
            # Of this machine nothing counts but the small disk.
            f"--collector.filesystem.mount-points-exclude={_everything_but(disk)}",
            f"--collector.textfile.directory={self.textfiles}",
            f"--web.listen-address=127.0.0.1:{self.ports['node']}",
        )

    def fill_disk(self, size: int) -> None:
        """Write ``size`` bytes to the disk that node_exporter sees, 0 to empty it."""
        (exporter,) = psutil.Process(self.processes["node"].pid).children()
        namespace = Path(f"/proc/{exporter.pid}/root")
        (namespace / str(self.directory / "disk").lstrip("/") / "filling").write_bytes(b"x" * size)

    def configure_prometheus(self, *, with_targets: bool = True) -> None:
        """Write prometheus.yml. ``with_targets`` False: without any job."""
        scrape = (FILES / "gte-ops.scrape.yml").read_text(encoding="utf-8")
        for address, port in (
            ("127.0.0.1:8000", self.service.port),
            ("127.0.0.1:9100", self.clock.port),
            ("127.0.0.1:9115", self.ports["blackbox"]),
        ):
            scrape = scrape.replace(address, f"127.0.0.1:{port}")
        scrape = scrape.replace(
            "https://gte-api.example.com/health", f"http://127.0.0.1:{self.ports['nginx']}/health"
        )
        scrape = re.sub(r"scrape_interval: \d+s", "scrape_interval: 1s", scrape)
        head = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        target = f"{{static_configs: [{{targets: ['127.0.0.1:{self.ports['alertmanager']}']}}]}}"
        alerting = f"rule_files: [fast.rules.yml]\nalerting: {{alertmanagers: [{target}]}}\n"
        text = head + alerting + (scrape if with_targets else "scrape_configs: []\n")
        (self.directory / "prometheus.yml").write_text(text, encoding="utf-8")

    def reload_prometheus(self) -> None:
        self.processes["prometheus"].send_signal(signal.SIGHUP)


def _everything_but(disk: Path) -> str:
    """Go's regular expressions have no look-ahead: what does not begin like ``disk``, letter by letter."""
    path = str(disk)
    alternatives = [f"{re.escape(path[:n])}([^{re.escape(path[n])}].*)?" for n in range(1, len(path))]
    return f"^({'|'.join(alternatives)})$"


NGINX = """daemon off; master_process off; pid nginx.pid; error_log nginx.error.log;
events {{}}
http {{
    access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    server {{ listen 127.0.0.1:{nginx}; location / {{ proxy_pass http://127.0.0.1:{service}; }} }}
}}
"""


@contextlib.contextmanager
def monitoring(directory: Path) -> Iterator[Monitoring]:
    """Everything, running: the service behind nginx, exporters, Prometheus, Alertmanager, our receiver, robots."""
    names = ("nginx", "node", "blackbox", "prometheus", "alertmanager")
    with contextlib.ExitStack() as stack:
        robots = stack.enter_context(robot_endpoint())
        taken = stack.enter_context(receiver(_made(directory / "receiver"), robots))
        service = stack.enter_context(
            gunicorn(
                _made(directory / "service"),
                "monitored_service:create()",
                MONITORED_HOLD=str(directory / "hold"),
                **SERVICE,
            )
        )
        ports = {name: free_port() for name in names}
        clock = ShiftedExporter(f"127.0.0.1:{ports['node']}")
        stack.callback(clock.close)
        made = Monitoring(directory, ports, service, robots, clock)
        stack.callback(made.end_all)
        for name in ("textfiles", "disk"):
            _made(directory / name)
        (directory / "nginx.conf").write_text(NGINX.format(nginx=made.ports["nginx"], service=service.port))
        (directory / "fast.rules.yml").write_text(
            fast((FILES / "gte-ops.rules.yml").read_text(encoding="utf-8"))
        )
        (directory / "alertmanager.yml").write_text(alertmanager_text(taken.port))
        made.configure_prometheus()
        made.start_nginx()
        made.start_node_exporter()
        made.start(
            "blackbox",
            "prometheus-blackbox-exporter",
            "--config.file=/etc/prometheus/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{made.ports['blackbox']}",
        )
        made.start_alertmanager()
        made.start_prometheus()
        for name, port in made.ports.items():
            eventually(partial(_listens, port), START_SECONDS)
            assert made.processes[name].poll() is None, (directory / f"{name}.log").read_text()
        eventually(lambda: made.value("sum(up) + sum(probe_success)") == 4, START_SECONDS)
        yield made


def alertmanager_text(port: int) -> str:
    """The configuration of Alertmanager with short times, for a receiver at ``port``."""
    text = (FILES / "gte-ops.alertmanager.yml").read_text(encoding="utf-8")
    for name in ("group_wait", "group_interval"):
        text = re.sub(rf"{name}: .*", f"{name}: 3s", text)
    return text.replace("127.0.0.1:9095", f"127.0.0.1:{port}")


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def posted(service: Gunicorn, task: str, text: str, client: str = CLIENTS[0]) -> int | None:
    """The status of one prediction, asked from the address ``client``; None where there is no answer."""
    body = json.dumps({"task_type": task, "input_text": text, "parameters": {}})
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60, source_address=(client, 0))
    with contextlib.closing(link), contextlib.suppress(OSError, http.client.HTTPException):
        link.request("POST", "/predict", body, {"Content-Type": "application/json"})
        return link.getresponse().status
    return None


def age_file(path: Path, seconds: float) -> None:
    """Give a file a time of change that long ago."""
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
