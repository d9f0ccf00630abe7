"""A host to back up, laid out below one directory, and the command run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.authority import Authority, write_lineage

REPOSITORY = Path(__file__).resolve().parents[2]
DOMAIN = "gte-api.example.com"


@dataclass(frozen=True)
class Host:
    """``root`` holds everything; ``config`` is its gte-ops.toml, ``backups`` where backups go."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "gte-ops.toml"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def letsencrypt(self) -> Path:
        return self.root / "letsencrypt"

    def configure(self, **backup: Any) -> None:
        """Writes gte-ops.toml, with these keys in its [backup]."""
        lines = {"dir": str(self.backups), **backup}
        (self.root / "gte-ops.toml").write_text(
            f"""
[nginx]
config_file = "{self.root}/nginx/nginx.conf"
[tls]
letsencrypt_dir = "{self.letsencrypt}"
[gunicorn]
config_file = "{self.root}/app/gunicorn.conf.py"
[app]
dir = "{self.root}/app"
[logrotate]
config_files = ["{self.root}/logrotate"]
[schedule]
cron = ["{self.root}/cron.d"]
systemd = ["{self.root}/units"]
[backup]
"""
            + "\n".join(f"{key} = {_toml(value)}" for key, value in lines.items())
            + "\n"
        )

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`gte-ops backup` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "ops.cli", "backup", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8", **options.pop("env", {})},
            **options,
        )

    def document(self, *arguments: str) -> Any:
        """What the command says as JSON."""
        done = self.run(*arguments, "--format", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def archives(self) -> list[Path]:
        """The finished backups, by their names alone."""
        return sorted(p for p in self.backups.glob("gte-ops-*") if p.name.endswith((".zst", ".gz", ".age")))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def lay_out(root: Path) -> Host:
    """nginx with a site, an include by pattern, a password file and DH parameters outside of it; a certbot tree with
    two generations, an account and hooks; gunicorn's configuration, unit, cron and logrotate files."""
    host = Host(root)
    authority = Authority()
    for version in (1, 2):
        live = write_lineage(host.letsencrypt, DOMAIN, authority.issue([DOMAIN]), version=version)
    (host.letsencrypt / "archive").chmod(0o700)
    (host.letsencrypt / "live").chmod(0o700)
    renewal = host.letsencrypt / "renewal" / f"{DOMAIN}.conf"
    secret = root / "secrets" / "dns.ini"
    hook = root / "hooks" / "reload nginx.sh"
    renewal.write_text(
        renewal.read_text()
        + f"version = 2.1.0\ndns_rfc2136_credentials = {secret}\nrenew_hook = '{hook}' --now\n"
    )
    files = {
        "nginx/nginx.conf": "events {}\nhttp {\n    include sites/*.conf;\n    include mime.types;\n}\n",
        "nginx/mime.types": "types { text/html html; }\n",
        "nginx/unused.conf": "# nobody includes this\n",
        "nginx/sites/site.conf": f"""
server {{
    listen 127.0.0.1:8443 ssl;
    server_name {DOMAIN};
    ssl_certificate {live}/fullchain.pem;
    ssl_certificate_key {live}/privkey.pem;
    ssl_dhparam {root}/dh/dhparam.pem;
    auth_basic realm;
    auth_basic_user_file ../auth/htpasswd;
}}
""",
        "auth/htpasswd": "a:$1$b\n",
        "dh/dhparam.pem": _dh_parameters(),
        "letsencrypt/cli.ini": "max-log-backups = 0\n",
        "letsencrypt/accounts/acme.invalid/directory/abc/private_key.json": "{}",
        "letsencrypt/renewal-hooks/deploy/reload.sh": "#!/bin/sh\n",
        "letsencrypt/options-ssl-nginx.conf": "# options\n",
        "letsencrypt/.updated-options-ssl-nginx-conf-digest.txt": "abc",
        "secrets/dns.ini": "dns_rfc2136_secret = x\n",
        "hooks/reload nginx.sh": "#!/bin/sh\n",
        "app/gunicorn.conf.py": "workers = 2\n",
        "logrotate": "/var/log/x {}\n",
        "cron.d/gte-ops": "# daily\n",
        "units/gte-api.service": f"[Service]\nEnvironmentFile=-{root}/environment\n",
        "units/gte-api.service.d/limits.conf": "[Service]\nLimitNOFILE=65536\n",
        "environment": "GTE_ENGINE=embedded\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    secret.chmod(0o600)
    host.configure()
    return host


def _dh_parameters() -> str:
    command = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
