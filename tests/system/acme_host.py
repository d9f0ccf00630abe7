"""A host whose certificate certbot got from a real ACME authority, and which nginx serves."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.waiting import wait_for
from tests.system.peer import free_port
from tests.system.tls_host import TlsHost, pebble

NAME = "gte.lab.example"
DAY = 86400

needs_acme = pytest.mark.skipif(
    not shutil.which("pebble") or not shutil.which("certbot"), reason="needs pebble and certbot"
)


class Certbot:
    """certbot with everything of its own below the host's directory."""

    def __init__(self, host: TlsHost, server: str) -> None:
        self.host, self.server = host, server

    def run(self, *arguments: str, fails: bool = False) -> None:
        host = self.host
        places = (
            "--config-dir", str(host.letsencrypt), "--work-dir", str(host.directory / "work"),
            "--logs-dir", str(host.directory / "logs"),
        )  # fmt: skip
        done = subprocess.run(
            ["certbot", *arguments, "-n", *places],
            env={
                **host.environment,
                "REQUESTS_CA_BUNDLE": str(host.directory / "acme.pem"),
                "NGINX_CONF": str(host.conf),
            },
            cwd=host.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr

    def issue(self) -> None:
        self.run(
            "certonly", "--agree-tos", "--register-unsafely-without-email", "--server", self.server,
            "--webroot", "-w", str(self.host.webroot), "-d", NAME,
        )  # fmt: skip

    def renew(self, *, fails: bool = False) -> None:
        self.run("renew", "--force-renewal", "--no-random-sleep-on-renew", fails=fails)


def serves(port: int, live: Path) -> bool:
    """Whether nginx presents what lies on disk."""
    try:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), 2) as raw,
            context.wrap_socket(raw, server_hostname=NAME) as tls,
        ):
            served = tls.getpeercert(binary_form=True)
    except OSError:
        return False
    return (
        served is not None
        and ssl.DER_cert_to_PEM_cert(served).strip() == (live / "cert.pem").read_text().strip()
    )


@dataclass(frozen=True)
class Issued:
    """The host, its certbot, the port nginx serves on, the lineage's ``live``, and the server blocks by port."""

    host: TlsHost
    certbot: Certbot
    https: int
    live: Path
    plain: str
    secure: str


@contextmanager
def issued(tmp_path: Path) -> Iterator[Issued]:
    """A host below ``tmp_path`` whose certificate for `NAME` was just issued, and is served."""
    http, https = free_port(), free_port()
    plain = f"server {{ listen 127.0.0.1:{http}; location / {{ root {tmp_path}/web; }} }}\n"
    live = tmp_path / "letsencrypt" / "live" / NAME
    secure = (
        f"server {{ listen 127.0.0.1:{https} ssl; server_name {NAME};\n"
        f"ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem; }}\n"
    )
    with TlsHost(tmp_path, plain) as host, pebble(tmp_path, http, seconds=90 * DAY) as server:
        certbot = Certbot(host, server)
        certbot.issue()
        host.write_nginx(plain + secure)
        host.reload()
        wait_for(lambda: serves(https, live), "nginx to serve it")
        yield Issued(host, certbot, https, live, plain, secure)
