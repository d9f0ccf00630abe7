"""gunicorn 20.1, which hosts set up by the guide run: no control socket, another arbiter, both worker classes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.lab.faults.stuck import stick
from tests.lab.stack import REPOSITORY
from tests.lab.waiting import wait_for
from tests.lab.watched import RECOVERED, answers, resident, rounds_until, rungs, status, watched

VERSION = "20.1.0"
# 20.1 imports pkg_resources, which later versions of setuptools have no more.
PACKAGES = (f"gunicorn=={VERSION}", "setuptools<80")


@pytest.fixture(scope="module")
def old_gunicorn() -> str:
    """A directory with that gunicorn, installed once and kept beside this interpreter's packages."""
    directory = Path(sys.prefix) / f"lab-gunicorn-{VERSION}"
    if not (directory / "gunicorn").is_dir():
        # Under a name of its own until it is whole: test processes run side by side.
        unfinished = Path(sys.prefix) / f".lab-gunicorn-{VERSION}-{os.getpid()}"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                str(unfinished),
                *PACKAGES,
            ],
            check=True,
            timeout=300,
        )
        if not directory.exists():
            unfinished.rename(directory)
    return str(directory)


def test_it_is_that_version(old_gunicorn: str) -> None:
    with watched(workers=1, gunicorn=old_gunicorn) as stack:
        assert f"Starting gunicorn {VERSION}" in stack.gunicorn_said()
        stack.kill_gunicorn()
        rounds_until(stack, RECOVERED, at_most=3)
        assert rungs(stack) == ["restart"]
        assert answers(stack)
        assert f"Starting gunicorn {VERSION}" in stack.gunicorn_said()


@pytest.mark.parametrize("worker_class", ["gthread", pytest.param("sync", marks=pytest.mark.long)])
def test_a_stuck_worker_is_replaced_and_the_other_left_alone(old_gunicorn: str, worker_class: str) -> None:
    threads = 2 if worker_class == "gthread" else None
    with watched(
        workers=2, worker_class=worker_class, threads=threads, timeout=600, gunicorn=old_gunicorn
    ) as stack:
        victim, healthy = (w.pid for w in stack.gunicorn_workers)
        stick(stack, "/stick", victim=victim, count=threads or 1)
        with resident(stack):
            wait_for(lambda: not psutil.pid_exists(victim), "the stuck worker to go", within=30)
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=20, every=0.3)
        assert rungs(stack) == ["kill_worker"]
        assert healthy in {w.pid for w in stack.gunicorn_workers}


@pytest.mark.long
def test_every_other_case_of_the_watchdog(old_gunicorn: str) -> None:
    """The whole proof again, with the older gunicorn below it."""
    files = [
        str(REPOSITORY / "tests" / "lab" / name) for name in ("test_watchdog.py", "test_watchdog_clients.py")
    ]
    files.append(str(REPOSITORY / "tests" / "lab" / "test_watchdog_without_records.py"))
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *files,
            "-k",
            "not two_hundred",
        ],
        env={**os.environ, "GTE_LAB_GUNICORN": old_gunicorn},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
