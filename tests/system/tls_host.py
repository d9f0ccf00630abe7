"""A real nginx with TLS, certbot's directory and a gte-ops.toml that describes both, in one directory on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.waiting import wait_for
from tests.system.peer import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """What a run of gte-ops said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class TlsHost:
    """nginx with ``servers`` (text of server blocks); nothing runs before ``with``."""

    def __init__(self, directory: Path, servers: str = "") -> None:
        self.directory = directory
        self.letsencrypt = directory / "letsencrypt"
        self.cron = directory / "cron.d"
        self.webroot = directory / "web"
        for folder in (self.letsencrypt, self.cron, self.webroot, directory / "tmp"):
            folder.mkdir()
        self.conf = directory / "nginx.conf"
        self.pidfile = directory / "nginx.pid"
        self.ca_file = directory / "ca.pem"
        self.config = directory / "gte-ops.toml"
        self.environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]),
            "PYTHONPATH": str(ROOT),
        }
        self.more = ""
        self.write_nginx(servers)

    def write_nginx(self, servers: str) -> None:
        temporary = "".join(
            f"{kind}_temp_path {self.directory}/tmp/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.conf.write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\nworker_processes 1;\npid {self.pidfile};\n"
            f"error_log {self.directory}/error.log;\nevents {{ worker_connections 512; }}\n"
            f"http {{\naccess_log off;\n{temporary}\n{servers}\n}}\n"
        )

    def write_config(self) -> None:
        tables: dict[str, dict[str, Any]] = {
            "nginx": {"config_file": str(self.conf), "pidfile": str(self.pidfile)},
            "schedule": {"cron": [str(self.cron)], "systemd": [str(self.directory / "systemd")]},
            "tls": {
                "letsencrypt_dir": str(self.letsencrypt),
                "letsencrypt_logs": str(self.directory / "logs"),
                "ca_file": str(self.ca_file),
            },
        }
        lines = [
            "\n".join([f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())])
            for table, keys in tables.items()
        ]
        self.config.write_text("\n".join([*lines, self.more]) + "\n")

    def __enter__(self) -> Self:
        subprocess.run(["nginx", "-c", str(self.conf)], check=True, env=self.environment, capture_output=True)
        wait_for(lambda: self.pidfile.exists() and self.pidfile.read_text().strip(), "nginx's pidfile")
        self.write_config()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pidfile.read_text())
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not self.pidfile.exists(), "nginx to end")

    def reload(self) -> None:
        subprocess.run(
            ["nginx", "-c", str(self.conf), "-s", "reload"],
            check=True,
            env=self.environment,
            capture_output=True,
        )

    def gte_ops(self, *arguments: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def check(self, *arguments: str, form: str = "json") -> Ran:
        """``gte-ops cert check`` with this host's configuration."""
        return self.gte_ops("cert", "check", "--config", str(self.config), "--format", form, *arguments)


@contextlib.contextmanager
def pebble(directory: Path, http_port: int, *, seconds: int) -> Iterator[str]:
    """A real ACME authority that validates at ``http_port`` and issues for ``seconds``; yields its directory's URL.

    Its own TLS certificate is trusted by ``directory/acme.pem``; its root lies in ``directory/ca.pem``."""
    key, certificate = directory / "acme.key", directory / "acme.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    acme, manage, dns, control = (free_port() for _ in range(4))
    config = directory / "pebble.json"
    settings = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{manage}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": seconds,
    }
    config.write_text(json.dumps({"pebble": settings}))
    quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    commands = (
        ["pebble", "-config", str(config), "-dnsserver", f"127.0.0.1:{dns}", "-strict"],
        ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}",
         "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{control}"],
    )  # fmt: skip
    with contextlib.ExitStack() as running:
        log = running.enter_context((directory / "pebble.log").open("wb"))
        for command in commands:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **quick}
            )
            running.callback(process.wait)
            running.callback(process.kill)

        def root() -> bool:
            import urllib.error
            import urllib.request

            trust = ssl.create_default_context(cafile=str(certificate))
            with contextlib.suppress(urllib.error.URLError):
                with urllib.request.urlopen(f"https://127.0.0.1:{manage}/roots/0", context=trust) as answer:
                    (directory / "ca.pem").write_bytes(answer.read())
                return True
            return False

        wait_for(root, "pebble to answer", every=0.05)
        yield f"https://localhost:{acme}/dir"
