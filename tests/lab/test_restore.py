"""`gte-ops backup restore` on a host that serves: it stands confirmed by nginx, or everything is as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.interpret.x509 import certificate_from_der, pem_blocks
from tests.lab.stack import REPOSITORY, Report, Stack
from tests.lab.waiting import wait_for
from tests.system.made_backup import facts_of, make_backup

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"status": "ok"}']
"""


class Host:
    """A stack and its backups."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.saved = 0
        self.parts = tuple(str(p).lstrip("/") for p in (stack.nginx_dir, stack.letsencrypt, stack.cron))

    def back_up(self, **manifest: Any) -> Path:
        """A backup of the stack as it is."""
        self.saved += 1
        return make_backup(
            Path("/"),
            self.stack.backups,
            created_at=1_700_000_000 + self.saved,
            only=self.parts,
            letsencrypt_dir=str(self.stack.letsencrypt),
            **manifest,
        )

    def restore(self, *arguments: str) -> Report:
        return self.stack.gte_ops("backup", "restore", "--config", str(self.stack.config_file), *arguments)

    def facts(self) -> dict[str, Any]:
        found = {}
        for part in self.parts:
            root = Path("/") / part
            # nginx makes the first itself; the lock is certbot's and ours, and holds nothing.
            found.update(
                {
                    f"{part}/{k}": v
                    for k, v in facts_of(root).items()
                    if not k.startswith("tmp/") and not k.endswith(".certbot.lock")
                }
            )
        return found

    def served(self) -> str:
        import time

        from ops.collect.net.tls import served_certificate
        from ops.facts.certificates import Served

        address = f"{self.stack.https[0]}:{self.stack.https[1]}"
        seen = served_certificate(address, self.stack.domain, str(self.stack.ca_file), time.monotonic() + 5)
        assert isinstance(seen, Served), seen
        return seen.chain[0].fingerprint

    def workers(self) -> set[int]:
        return {worker.pid for worker in self.stack.nginx_workers}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(app=APP) as up:
        yield up


@pytest.fixture
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(stack)
    before = tmp_path_factory.mktemp("before")
    for part in host.parts:
        shutil.copytree(Path("/") / part, before / part, symlinks=True)
    # A cared-for host has a backup of its own, and it would be the newest.
    shutil.rmtree(stack.backups)
    stack.backups.mkdir()
    host.back_up()
    yield host
    for part in host.parts:
        shutil.rmtree(Path("/") / part)
        shutil.copytree(before / part, Path("/") / part, symlinks=True)
    stack.reload_nginx()
    shutil.rmtree(stack.backups)
    stack.backups.mkdir()


def test_a_renewal_gone_wrong_is_taken_back(host: Host) -> None:
    stack = host.stack
    good = next(certificate_from_der(der) for der in pem_blocks(stack.certificate.read_bytes())).fingerprint
    before = host.facts()
    stack.replace_certificate(reload=False)
    stack.replace_certificate()
    stack.edit(stack.site_file, "proxy_read_timeout", "# changed\n    proxy_read_timeout", apply=False)
    assert host.served() != good
    done = host.restore("--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    # A worker of before the reload may take one more connection.
    wait_for(lambda: host.served() == good, "the certificate of before")
    assert host.facts() == before
    safety = list((stack.backups / "before-restore").glob("*.tar.zst"))
    assert len(safety) == 1
    assert str(safety[0]) in done.stdout
    assert safety[0].stat().st_mode & 0o777 == 0o600
    # What was taken away comes back from the safety backup.
    assert host.restore(str(safety[0]), "--yes").exit_code == 0
    assert host.served() != good


def test_what_would_change_is_shown_and_no_key(host: Host) -> None:
    stack = host.stack
    key = stack.private_key.read_text().splitlines()[1]
    stack.edit(
        stack.site_file, "proxy_read_timeout", "proxy_buffering off;\n    proxy_read_timeout", apply=False
    )
    stack.replace_certificate(reload=False)
    (stack.cron / "certbot").chmod(0o600)
    live = stack.private_key.parent / "privkey.pem"
    before, workers = host.facts(), host.workers()
    done = host.restore("--dry-run")
    assert done.exit_code == 0
    assert "-    proxy_buffering off;" in done.stdout
    assert "mode changes from 0600 to 0644" in done.stdout
    assert f"{live}: link changes from ../../archive/{stack.domain}/privkey" in done.stdout
    assert f"/{stack.domain}/{live.resolve().name}: is not in the backup and will go with it" in done.stdout
    assert "PRIVATE" not in done.stdout
    assert key not in done.stdout
    assert (host.facts(), host.workers()) == (before, workers)
    assert not (stack.backups / "before-restore").exists()


def refused(host: Host, archive: Path, reason: str) -> Report:
    """A restore that must not stand."""
    before, served = host.facts(), host.served()
    done = host.restore(str(archive), "--yes")
    assert done.exit_code == 2, done
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
    assert "everything is as it was" in done.stderr
    assert host.facts() == before
    assert host.served() == served
    assert host.stack.request(path="/health").status == 200
    assert not list(host.stack.directory.rglob(".gte-ops-restore*"))
    return done


def test_a_configuration_that_nginx_refuses_is_put_back(host: Host) -> None:
    stack = host.stack
    text = stack.site_file.read_text()
    stack.site_file.write_text("not_a_directive on;\n" + text)
    archive = host.back_up()
    stack.site_file.write_text(text)
    workers = host.workers()
    refused(host, archive, 'nginx -t fails: unknown directive "not_a_directive"')
    assert host.workers() == workers


@pytest.mark.long
def test_a_configuration_that_cannot_be_reloaded_is_put_back(host: Host) -> None:
    """nginx -t does not mind a port that is taken; the reload does."""
    stack = host.stack
    with socket.create_server((stack.address, 0)) as taken:
        text = stack.site_file.read_text()
        stack.site_file.write_text(
            f"server {{ listen {stack.address}:{taken.getsockname()[1]}; return 204; }}\n{text}"
        )
        archive = host.back_up()
        stack.site_file.write_text(text)
        refused(host, archive, "nginx kept its old configuration at the reload")


@pytest.mark.long
def test_a_configuration_that_loses_the_service_is_put_back(host: Host) -> None:
    stack = host.stack
    text = stack.site_file.read_text()
    stack.site_file.write_text(
        text.replace(f"server {stack.bind};", f"server {stack.address}:{stack.free_port()};")
    )
    archive = host.back_up()
    stack.site_file.write_text(text)
    refused(host, archive, "/health: answers 502")


def test_below_a_root_nothing_of_the_host_is_touched(host: Host, tmp_path: Path) -> None:
    stack = host.stack
    stack.replace_certificate(reload=False)
    before, workers = host.facts(), host.workers()
    listed = sorted(stack.backups.rglob("*"))
    done = host.restore("--yes", "--root", str(tmp_path / "new"))
    assert (done.exit_code, done.stderr) == (0, "")
    restored = tmp_path / "new" / str(stack.nginx_conf).lstrip("/")
    assert restored.read_text() == stack.nginx_conf.read_text()
    assert (host.facts(), host.workers(), sorted(stack.backups.rglob("*"))) == (before, workers, listed)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["tmp"]


def test_it_asks_before_it_changes_anything(host: Host) -> None:
    host.stack.replace_certificate(reload=False)
    before = host.facts()
    done = host.restore()
    assert done.exit_code == 3
    assert "--yes" in done.stderr
    assert host.facts() == before


def test_on_a_terminal_it_asks_and_takes_no_for_no(host: Host) -> None:
    host.stack.replace_certificate(reload=False)
    before = host.facts()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        host.stack.gte_ops_command("backup", "restore", "--config", str(host.stack.config_file)),
        env=host.stack.environment(), cwd=host.stack.directory, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while chunk := os.read(ours, 4096):
            said += chunk
            if said.endswith(b"[y/N]: "):
                os.write(ours, b"n\n")
    os.close(ours)
    assert process.wait(20) == 1
    assert b"link changes from" in b" ".join(said.split())  # a line is wrapped at the terminal's width
    assert b"nothing was restored" in said
    assert host.facts() == before


def test_a_damaged_newest_backup_is_passed_over(host: Host) -> None:
    host.stack.edit(host.stack.nginx_conf, "512", "511", apply=False)
    newest = host.back_up()
    content = bytearray(newest.read_bytes())
    content[-20] ^= 4
    newest.write_bytes(content)
    done = host.restore("--yes", "--format", "json")
    assert done.exit_code == 0
    assert '"worker_connections 512' not in done.stdout
    assert "512" in host.stack.nginx_conf.read_text()
    assert str(newest) not in done.stdout


def test_a_restore_that_was_killed_after_its_reload_is_undone_and_nginx_told(host: Host) -> None:
    stack = host.stack
    archive = host.back_up()
    good = host.served()
    stack.replace_certificate()
    later, facts = host.served(), host.facts()
    killing = (
        "import os, signal, sys; from ops.backups.restore import validate;"
        "validate._serves = lambda *a: os.kill(os.getpid(), signal.SIGKILL);"
        "from ops.cli.main import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", killing, "backup", "restore", str(archive), "--yes", "--config", str(stack.config_file)],
        env=stack.environment(), cwd=REPOSITORY, check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == -9
    wait_for(lambda: host.served() == good, "the killed restore's reload")
    done = host.restore("--dry-run")
    assert "was killed" in done.stderr
    wait_for(lambda: host.served() == later, "the reload behind the undoing")
    assert host.facts() == facts
