"""certbot and a real ACME authority: issued, renewed, taken up by nginx, and a renewal that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.lab.waiting import wait_for
from tests.system.acme_host import NAME, issued, needs_acme, serves
from tests.system.peer import free_port
from tests.system.tls_host import ROOT, TlsHost


def entry(ran: Any, source: str) -> dict[str, Any]:
    (found,) = (one for one in ran.json["certificates"] if one["source"] == source)
    return dict(found)


@needs_acme
def test_a_certificate_from_issue_to_a_renewal_that_fails(tmp_path: Path) -> None:
    with issued(tmp_path) as up:
        host, certbot, https, live = up.host, up.certbot, up.https, up.live
        (host.cron / "certbot").write_text("17 */12 * * * root certbot -q renew\n")

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
            up.plain.replace("location / {", "location /.well-known { return 403; } location / {") + up.secure
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
