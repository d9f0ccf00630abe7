"""certbot and a real ACME authority: issued, renewed, taken up by nginx, and a renewal that fails."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.waiting import wait_for
from tests.system.peer import free_port
from tests.system.tls_host import ROOT, TlsHost, pebble

NAME = "gte.lab.example"
DAY = 86400


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


def entry(ran: Any, source: str) -> dict[str, Any]:
    (found,) = (one for one in ran.json["certificates"] if one["source"] == source)
    return dict(found)


@pytest.mark.skipif(
    not shutil.which("pebble") or not shutil.which("certbot"), reason="needs pebble and certbot"
)
def test_a_certificate_from_issue_to_a_renewal_that_fails(tmp_path: Path) -> None:
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
        (host.cron / "certbot").write_text("17 */12 * * * root certbot -q renew\n")
        wait_for(lambda: serves(https, live), "nginx to serve it")

        # Issued and served: all in order.
        ran = host.check()
        served, kept = entry(ran, "served"), entry(ran, "file")
        assert (ran.exit_code, ran.json["status"], served["reasons"], kept["reasons"]) == (0, "ok", [], []), (
            ran
        )
        assert served["names"] == [NAME]
        assert (served["matches_disk"], served["chain_complete"], kept["key_matches"]) == (True, True, True)
        assert kept["renewal"]["by"] == [f"{host.cron}/certbot:1"]
        assert kept["renewal"]["certbot"]
        assert 89 < served["days_left"] <= 90

        # Renewed, and nobody reloaded nginx: within ten minutes the hook may still do it, then it is TLS008.
        certbot.renew()
        assert host.check().exit_code == 0
        long_ago = time.time() - 900
        os.utime(live / "fullchain.pem", (long_ago, long_ago))
        ran = host.check()
        served = entry(ran, "served")
        assert (ran.exit_code, served["status"], served["reasons"]) == (1, "warn", ["TLS008"])
        assert served["matches_disk"] is False

        # Renewed again, with the hook that ships: nginx serves the new one at once.
        hooks = host.letsencrypt / "renewal-hooks" / "deploy"
        hooks.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / "certbot" / "reload-nginx", hooks)
        certbot.renew()
        wait_for(lambda: serves(https, live), "the hook to reload nginx")
        ran = host.check()
        assert (ran.exit_code, entry(ran, "served")["reasons"]) == (0, [])
        assert entry(ran, "file")["renewal"]["failed_tries"] == 0

        # The challenge is blocked: certbot's own reason is told.
        host.write_nginx(
            plain.replace("location / {", "location /.well-known { return 403; } location / {") + secure
        )
        host.reload()
        certbot.renew(fails=True)
        kept = entry(host.check(), "file")
        assert kept["renewal"]["failed_tries"] == 1
        assert "403" in kept["renewal"]["reason"]
        assert any("renewal failed 1x" in remark["text"] for remark in kept["remarks"])


def test_the_hook_leaves_nginx_alone_where_the_configuration_is_broken(tmp_path: Path) -> None:
    with TlsHost(tmp_path, f"server {{ listen 127.0.0.1:{free_port()}; }}") as host:
        host.write_nginx("server { nonsense; }")
        done = subprocess.run(
            [str(ROOT / "deploy" / "certbot" / "reload-nginx")],
            env={**host.environment, "NGINX_CONF": str(host.conf), "RENEWED_LINEAGE": "/le/live/x"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert 'unknown directive "nonsense"' in done.stderr
        assert "not reloaded (/le/live/x)" in done.stderr
