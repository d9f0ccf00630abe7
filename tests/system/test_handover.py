"""A gunicorn hands over to another version, and back, and no request is lost: the real one, without systemd."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.collect.process.control_socket import ask
from ops.collect.process.start_time import start_ticks
from ops.control.handover import (
    HandoverError,
    end_predecessor,
    environment_of,
    start_successor,
    workers_of,
)
from ops.facts.base import NotSeen
from ops.interpret.process_ref import ProcessRef
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.long

VERSIONS = ("one", "two", "broken")
APPLICATION = """
import os, sys
version = os.path.basename(os.path.dirname(os.path.dirname(sys.executable)))
if version == "broken":
    raise RuntimeError("broken on purpose")

def application(environ, start_response):
    start_response("200 OK", [])
    return [version.encode()]
"""
SECONDS = 40.0


class Deployed:
    """Versions beside one another, a link to one, and a gunicorn that was started by the link."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.link, self.pidfile = directory, directory / "venv", directory / "gunicorn.pid"
        self.socket, self.control_socket = str(directory / "s"), str(directory / "c")
        for version in VERSIONS:
            binaries = directory / version / "bin"
            binaries.mkdir(parents=True)
            (binaries / "python3").symlink_to(os.path.realpath(sys.executable))
            program = binaries / "gunicorn"
            program.write_text(f"#!{binaries}/python3\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
            program.chmod(0o755)
        (directory / "application.py").write_text(APPLICATION)
        # Workers of this kind have no thread that a loaded machine might starve.
        (directory / "conf.py").write_text(
            "from service.gunicorn_conf import control_socket, control_socket_disable, on_starting, pre_exec\n"
            f"bind = 'unix:{self.socket}'\npidfile = '{self.pidfile}'\nworkers = 2\n"
        )
        self.switch("one")
        modules = [str(directory), *(path for path in sys.path if path)]
        self.process = subprocess.Popen(
            [str(self.link / "bin/gunicorn"), "-c", str(directory / "conf.py"), "application"],
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(modules),
                "GTE_CONTROL_SOCKET": self.control_socket,
                "GTE_PROGRESS_DIR": str(directory / "progress"),
                "GTE_METRICS_DIR": str(directory / "metrics"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def switch(self, version: str) -> None:
        new = self.directory / "new"
        new.symlink_to(version)
        new.replace(self.link)

    def ask(self) -> str:
        """The version that answers; why there is no answer."""
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(SECONDS)
            connection.sock.connect(self.socket)
            connection.request("GET", "/", headers={"Connection": "close"})
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def controlled_workers(self) -> set[int]:
        """The workers of the master that answers at the control socket; none without an answer."""
        answer = ask(self.control_socket, "show workers", seconds=SECONDS)
        return set() if isinstance(answer, NotSeen) else {worker["pid"] for worker in answer["workers"]}

    def master(self) -> ProcessRef:
        pid = int(self.pidfile.read_text())
        return ProcessRef(pid, start_ticks(pid))

    def hand_over(self, version: str) -> None:
        self.switch(version)
        master = self.master()
        place = self.directory / version
        successor = start_successor(master, place, lambda _: self.ask() == version, SECONDS)
        end_predecessor(master, successor, self.pidfile)
        assert self.master() == successor
        assert environment_of(successor) == place
        self.must_be_controlled()

    def must_be_controlled(self) -> None:
        workers = set(workers_of(self.master()))
        wait_for(lambda: self.controlled_workers() == workers, "the control socket", within=SECONDS)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    one = Deployed(tmp_path)
    try:
        wait_for(lambda: one.ask() == "one", "the first version", within=SECONDS)
        yield one
    finally:
        for pid in {
            one.process.pid,
            int(one.pidfile.read_text()) if one.pidfile.exists() else one.process.pid,
        }:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        one.process.wait(SECONDS)


def test_forward_and_back_and_a_broken_version_lose_no_request(deployed: Deployed) -> None:
    answers: Counter[str] = Counter()
    ended = threading.Event()

    def client() -> None:
        while not ended.wait(0.01):
            answers[deployed.ask()] += 1

    clients = [threading.Thread(target=client) for _ in range(2)]
    for thread in clients:
        thread.start()
    try:
        deployed.hand_over("two")
        assert deployed.ask() == "two"
        deployed.hand_over("one")
        before = deployed.master()
        with pytest.raises(HandoverError):
            deployed.hand_over("broken")
        deployed.switch("one")
        assert (deployed.ask(), deployed.master()) == ("one", before)
        deployed.must_be_controlled()
    finally:
        ended.set()
        for thread in clients:
            thread.join()
    assert set(answers) == {"one", "two"}
