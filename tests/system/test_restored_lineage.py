"""A restored lineage is certbot's own again: it renews it against a real ACME authority."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ops.backups.drill import relocate_renewals
from ops.backups.staging import below
from ops.interpret.x509 import certificate_from_der, pem_blocks
from tests.lab.waiting import wait_for
from tests.system.acme_host import NAME, issued, needs_acme, serves


def serial(live: Path) -> str:
    return certificate_from_der(next(pem_blocks((live / "cert.pem").read_bytes()))).serial


@needs_acme
@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.long)])
def test_lost_restored_and_renewed(tmp_path: Path, thorough: bool) -> None:
    with issued(tmp_path) as up:
        host, certbot, https, live = up.host, up.certbot, up.https, up.live
        host.more = f'[backup]\ndir = "{tmp_path}/backups"\n'
        host.write_config()
        config = ("--config", str(host.config))
        made = host.gte_ops("backup", "create", *config)
        assert made.exit_code in (0, 1), made
        kept = serial(live)

        # The drill serves it from elsewhere, and certbot takes it for its own there.
        drilled = host.gte_ops("backup", "drill", *config)
        assert drilled.exit_code == 0, drilled
        assert f"certbot takes 1 lineages as its own: {NAME}" in drilled.stdout

        # All of it is lost.
        shutil.rmtree(host.letsencrypt)
        restored = host.gte_ops("backup", "restore", "--yes", *config)
        assert restored.exit_code == 0, restored
        assert serial(live) == kept
        wait_for(lambda: serves(https, live), "nginx to serve the restored certificate")
        certbot.renew()
        assert serial(live) != kept
        assert (host.letsencrypt / "archive" / NAME / "privkey2.pem").exists()

        if not thorough:
            return

        # Restored over later renewals: none of them is left for certbot to link to.
        certbot.renew()
        assert host.gte_ops("backup", "restore", "--yes", *config).exit_code == 0
        assert serial(live) == kept
        certbot.renew()
        assert serial(live) != kept

        # Below another root, as on a new host.
        elsewhere = tmp_path / "elsewhere"
        assert host.gte_ops("backup", "restore", "--yes", "--root", str(elsewhere), *config).exit_code == 0
        assert relocate_renewals(elsewhere, str(host.letsencrypt)) == [NAME]
        host.letsencrypt = below(elsewhere, str(host.letsencrypt))
        there = host.letsencrypt / "live" / NAME
        assert serial(there) == kept
        certbot.renew()
        assert serial(there) != kept
