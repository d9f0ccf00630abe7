"""The host of the deployment guide at its own paths, and gte-ops run on it by root or another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.attacks.namespaces import REPOSITORY
from tests.lab.waiting import wait_for
from tests.system.guide_host import lay_out

NGINX = "/usr/sbin/nginx"
CONFIG = Path("/etc/gte-ops/gte-ops.toml")


def guide_host() -> None:
    """Every file of the guide's host; no process yet."""
    lay_out([])
    Path("/run").chmod(0o755)


def start_nginx(*options: str, program: str = NGINX, pidfile: str = "/run/nginx.pid", uid: int = 0) -> int:
    """nginx, as root or another user; the master's pid once it listens."""
    subprocess.run([program, *options], check=True, user=uid, group=uid, extra_groups=[], cwd="/")
    wait_for(lambda: Path(pidfile).exists() and Path(pidfile).read_text().strip(), "nginx's pidfile")
    return int(Path(pidfile).read_text())


def gte_ops(
    *arguments: str,
    uid: int = 0,
    cwd: Path | str = "/",
    environment: Mapping[str, str] | None = None,
    timeout: float = 45.0,
) -> subprocess.CompletedProcess[str]:
    """One command, as its installed script runs it: nothing of the working directory is on Python's path."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "ops.cli", *arguments],
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "LC_ALL": "C.UTF-8",
            **(environment or {}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        user=uid,
        group=uid,
        extra_groups=[],
    )


def report(*arguments: str, **options: Any) -> dict[str, Any]:
    """The doctor's report. Raises AssertionError where it wrote none."""
    ran = gte_ops("doctor", "--format", "json", "--skip", "HST005", *arguments, **options)
    assert ran.stdout.startswith("{"), f"exit {ran.returncode}: {ran.stderr}"
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def check_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """One check of a report."""
    return next(check for check in document["checks"] if check["id"] == name)


def codes(document: dict[str, Any]) -> list[str]:
    """The causes' codes."""
    return [cause["code"] for cause in document["causes"]]


def advice(document: dict[str, Any]) -> list[str]:
    """Every command that a report tells the operator to type, but those that only look."""
    lines = [str(line) for cause in document["causes"] for line in (*cause["fix"], cause["verify"] or "")]
    return [line for line in lines if not line.startswith(("ls ", "ps ", "stat ", "readlink "))]


def unseen(document: dict[str, Any]) -> str:
    """Every reason that a report gives for what it did not look at."""
    skipped = [check["skipped_because"] or "" for check in document["checks"]]
    return "\n".join((*skipped, *(item["reason"] for item in document["unseen"])))
