"""On a host laid out as in the deployment guide the doctor finds everything by itself: no configuration file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")


def _namespaces_work() -> bool:
    """Whether this machine lets us make namespaces: root does, but not inside every container."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not _namespaces_work(), reason="the guide's own paths and ports need namespaces, which need root"
)


def _look_at(host: str) -> dict[str, Any]:
    ran = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.system.guide_host", host],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    """The guide's host, its traps mended."""
    return _look_at("clean")


@pytest.fixture(scope="module")
def as_written() -> dict[str, Any]:
    """The guide's host with every trap that lets nginx start."""
    return _look_at("as_written")


# What the guide leaves out, true of its host even when all goes well: no rule rotates gunicorn's logs in /var/log,
# nobody has made a backup yet, and nothing watches the service.
LEFT_OUT = ["OPS001", "OPS003", "OPS006"]


def _codes(look: dict[str, Any]) -> list[str]:
    return [cause["code"] for cause in look["report"]["causes"]]


def test_nothing_is_wrong_with_a_healthy_guide_host_but_what_the_guide_leaves_out_and_everything_was_found(
    clean: dict[str, Any],
) -> None:
    report = clean["well"]["report"]
    assert (report["status"], _codes(clean["well"]), clean["well"]["exit_code"]) == ("warn", LEFT_OUT, 1)
    target = report["target"]
    assert target["domain"] == "gte-api.example.com"
    assert target["backend"] == "127.0.0.1:8000"
    assert target["site_file"] == "/etc/nginx/conf.d/gte-api.conf"
    assert target["certificate"] == "/etc/letsencrypt/live/gte-api.example.com/fullchain.pem"
    not_made = {check["id"] for check in report["checks"] if check["status"] not in ("pass", "warn")}
    # No time daemon runs here, and the doctor asks no time server: the clock is the one thing that is not judged.
    assert not_made <= {"host.clock"}


def test_the_run_leaves_no_file_behind(clean: dict[str, Any]) -> None:
    assert clean["left behind"]["files"] == []


def test_an_ordinary_user_learns_what_only_root_could_see(clean: dict[str, Any]) -> None:
    look = clean["as nobody"]
    # Rules and schedules are there to be read by anybody; what is not, is no proof.
    assert set(_codes(look)) <= set(LEFT_OUT), look
    skipped = [check for check in look["report"]["checks"] if check["status"] == "skip"]
    assert skipped
    assert any("root" in check["skipped_because"] for check in skipped)


def test_the_start_command_is_the_guides_script(clean: dict[str, Any]) -> None:
    look = clean["gunicorn killed"]
    assert _codes(look) == ["GUN001", *LEFT_OUT]
    cause = look["report"]["causes"][0]
    assert cause["explains"] == ["http.502"]
    assert cause["verify"] == "curl -v http://127.0.0.1:8000/health"
    assert cause["fix"][0] == "bash /root/build/start-prod.sh"
    assert look["exit_code"] == 2


def test_the_guides_own_traps_are_named(as_written: dict[str, Any]) -> None:
    traps = {"NGX006", "NGX010", "NGX017", "NGX018", "NGX047", "GUN008"}
    assert set(_codes(as_written["well"])) == {*traps, *LEFT_OUT}
    assert as_written["well"]["exit_code"] == 2
    broken = as_written["gunicorn killed"]
    assert _codes(broken)[0] in ("NGX010", "GUN001")
    assert "GUN001" in _codes(broken)
