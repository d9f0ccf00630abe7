"""`gte-ops backup drill`: the newest backup serves from a scratch directory, and nothing is left of it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.archive.manifest import NginxUse
from tests.lab.stack import MIME_TYPES, Report, Stack
from tests.lab.test_restore import APP
from tests.lab.waiting import wait_for
from tests.system.made_backup import make_backup


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(app=APP) as up:
        scratch(up).mkdir(mode=0o755)
        made = up.gte_ops("backup", "create", "--config", str(up.config_file))
        assert made.exit_code == 0, made
        yield up


def scratch(stack: Stack) -> Path:
    """Where a drill is to work; no other run does."""
    return stack.directory / "scratch"


def drill(stack: Stack, *arguments: str) -> Report:
    return stack.gte_ops(
        "backup", "drill", "--config", str(stack.config_file), *arguments,
        environment={"TMPDIR": str(scratch(stack))},
    )  # fmt: skip


def traces(stack: Stack) -> list[Path]:
    return list(scratch(stack).iterdir())


def test_it_serves_the_restored_certificate_and_leaves_nothing_behind(stack: Stack) -> None:
    before = sorted(stack.directory.rglob("*"))
    done = drill(stack, "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["status"] == "ok"
    checks = {check["name"]: check["status"] for check in told["checks"]}
    assert checks == dict.fromkeys(
        ("archive", "nginx_test", "nginx_start", "served", "complete", "certbot"), "ok"
    )
    served = [check["detail"] for check in told["checks"] if check["name"] == "served"]
    assert f"{stack.domain}: HTTPS answers with the leaf of {stack.certificate}" in served
    assert sorted(stack.directory.rglob("*")) == before
    assert "可以恢复并提供服务" in drill(stack, "--lang", "zh").stdout


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM, signal.SIGKILL]
)
def test_interrupted_while_nginx_serves_it_leaves_nothing_behind(
    stack: Stack, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        stack.gte_ops_command("backup", "drill", "--config", str(stack.config_file)),
        env=stack.environment() | {"TMPDIR": str(scratch(stack))},
        cwd=stack.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found: list[psutil.Process] = []

    def serving() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if "nginx: worker" in " ".join(child.cmdline()):
                    found.extend([child, *child.parents()[:1]])
            except psutil.Error:
                continue
        return bool(found) or process.poll() is not None

    wait_for(serving, "the drill's nginx", within=30, every=0.002)
    assert found, "the drill ended before it was seen to serve"
    process.send_signal(number)
    assert process.wait(15) == (130 if number != signal.SIGKILL else -9)
    wait_for(lambda: not any(p.is_running() for p in found), "the drill's nginx to end")
    if number == signal.SIGKILL:
        assert traces(stack)
        assert drill(stack).exit_code == 0
    assert traces(stack) == []


def test_a_backup_that_would_not_serve_again_fails_the_drill(stack: Stack) -> None:
    parts = tuple(str(p).lstrip("/") for p in (stack.nginx_dir, MIME_TYPES, stack.letsencrypt))
    key = stack.private_key.resolve()
    content = key.read_bytes()
    key.unlink()
    try:
        archive = make_backup(
            Path("/"), stack.directory / "broken", only=parts, letsencrypt_dir=str(stack.letsencrypt),
            nginx=NginxUse(
                binary="nginx", config_file=str(stack.nginx_conf), prefix=str(stack.nginx_dir)
            ),
        )  # fmt: skip
    finally:
        key.touch(mode=0o600)
        key.write_bytes(content)
    done = drill(stack, str(archive))
    assert done.exit_code == 2
    assert f'FAILED: nginx -t: cannot load certificate key "{stack.private_key}"' in done.stdout
    assert "cannot be restored to a service that works" in done.stdout
    assert traces(stack) == []


def test_an_encrypted_backup_needs_its_identity(stack: Stack, tmp_path: Path) -> None:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "key.txt"
    key.touch(mode=0o600)
    key.write_text(f"{identity}\n")
    stack.config["backup"]["recipients"] = [str(identity.to_public())]
    stack.write_config()
    assert stack.gte_ops("backup", "create", "--config", str(stack.config_file)).exit_code == 0
    closed = drill(stack)
    assert (closed.exit_code, closed.stderr.count("\n")) == (3, 1)
    assert "give the identity that opens it (--identity FILE)" in closed.stderr
    assert drill(stack, "--identity", str(key)).exit_code == 0
