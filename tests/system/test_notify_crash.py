"""The outbox under `kill -9` at any point, and with two processes at once."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.notifications.message import MessageKind
from ops.notifications.notify import Message, Outbox
from ops.text.language import verbatim
from tests.system.conftest import eventually
from tests.system.robot_endpoint import robot_endpoint

ROOT = Path(__file__).parent.parent.parent

ADDING = """
import sys, time
from pathlib import Path
from ops.text.language import verbatim
from ops.notifications.notify import Message, Outbox
path, url, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
outbox = Outbox(path, [url], "en")
print("ready", flush=True)
for n in range(first, first + count):
    # An hour apart each, so that the limit of an hour holds nothing back.
    outbox.add(Message(f"K{n}", "trouble", verbatim(f"number {n} is told"), verbatim(""), time.time()), now=3600.0 * n)
    print(n, flush=True)
"""

DELIVERING = """
import sys, time
from pathlib import Path
from ops.notifications.notify import Outbox
outbox = Outbox(Path(sys.argv[1]), [sys.argv[2]], "en")
print("ready", flush=True)
now = float(sys.argv[3])
while outbox.waiting():
    if not outbox.deliver(now, now + 15):
        time.sleep(0.05)  # the other one is delivering
    now += 60
"""


@dataclass
class Run:
    """A process and what it printed, in a file: nothing of it is lost in a pipe's buffers."""

    process: subprocess.Popen[bytes]
    output: Path

    def kill(self, after: float) -> list[str]:
        """Kill it ``after`` seconds, if it still runs; returns the words it printed."""
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        return self.output.read_text().split()[1:]


def run(directory: Path, code: str, *arguments: str) -> Run:
    """Start ``code`` and wait until it is ready."""
    descriptor, name = tempfile.mkstemp(dir=directory.parent)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=descriptor, env=environment)
    os.close(descriptor)
    started = Run(process, Path(name))
    eventually(lambda: started.output.read_bytes().startswith(b"ready\n"), within=30)
    return started


def check_adding(tmp_path: Path, kills: int) -> None:
    url = "dingtalk://TokenToken"
    path, chance = tmp_path / "outbox.json", random.Random(7)
    for _ in range(kills):
        printed = run(tmp_path, ADDING, str(path), url, "0", "90").kill(chance.uniform(0, 0.15))
        # What was confirmed is there, in a whole file; at most one more, whose confirmation was cut off.
        outbox = Outbox(path, [url], "en")
        confirmed = len(printed)
        assert confirmed <= outbox.waiting() <= confirmed + 1
        assert outbox.problems() == ()
        path.unlink(missing_ok=True)
    assert list(tmp_path.glob("*torn*")) == []


def check_delivering(tmp_path: Path, kills: int) -> None:
    path, chance, killed = tmp_path / "outbox.json", random.Random(11), 0
    with robot_endpoint() as endpoint:
        url = f"dingtalk://fine1?endpoint={endpoint.url}"
        while killed < kills:
            endpoint.posts.clear()
            outbox = Outbox(path, [url], "en")
            for n in range(3):
                outbox.add(
                    Message(
                        f"K{n}",
                        MessageKind.TROUBLE,
                        verbatim(f"number {n} is told"),
                        verbatim(""),
                        time.time(),
                    )
                )
            now, cut = time.time(), 0
            while outbox.waiting():
                started = run(tmp_path, DELIVERING, str(path), url, str(now))
                # Nearly all of the time is Apprise being loaded: aim behind it, where something happens.
                wanted = chance.uniform(0.2, 1.4)
                started.kill(wanted if cut < 2 else 60)
                if started.process.returncode == -signal.SIGKILL:
                    cut += 1
                now += 120
                assert outbox.problems() == ()
            killed += max(cut, 1)
            time.sleep(0.1)
            told = [text.splitlines()[0] for text in endpoint.texts("fine1")]
            for n in range(3):
                assert f"[gte-ops] number {n} is told" in told
            # A kill between the robot's answer and the note of it costs one duplicate, and no more.
            assert len(told) <= 3 + cut
            path.unlink()


def test_a_sample_of_kills_while_adding(tmp_path: Path) -> None:
    check_adding(tmp_path, 15)


def test_a_sample_of_kills_while_delivering(tmp_path: Path) -> None:
    check_delivering(tmp_path, 6)


@pytest.mark.long
def test_200_kills_while_adding(tmp_path: Path) -> None:
    check_adding(tmp_path, 200)


@pytest.mark.long
def test_60_kills_while_delivering(tmp_path: Path) -> None:
    check_delivering(tmp_path, 60)


def test_two_processes_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "outbox.json"
    with robot_endpoint() as endpoint:
        url = f"dingtalk://fine1?endpoint={endpoint.url}"
        writers = [run(tmp_path, ADDING, str(path), url, str(first), "20") for first in (0, 1000)]
        assert [len(writer.kill(30)) for writer in writers] == [20, 20]
        # At the later writer's time, a day has not passed for either's messages.
        assert Outbox(path, [url], "en").waiting() == 40
        path.unlink()
        outbox = Outbox(path, [url], "en")
        for n in range(10):
            outbox.add(
                Message(
                    f"K{n}", MessageKind.TROUBLE, verbatim(f"number {n} is told"), verbatim(""), time.time()
                )
            )
        readers = [run(tmp_path, DELIVERING, str(path), url, str(time.time())) for _ in range(2)]
        for reader in readers:
            reader.kill(60)
        told = [text.splitlines()[0] for text in endpoint.texts("fine1")]
        assert sorted(told) == sorted(f"[gte-ops] number {n} is told" for n in range(10))


def test_a_stopped_holder_of_the_lock_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "outbox.json"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time\nfile = open(sys.argv[1], 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
            "print('ready', flush=True)\ntime.sleep(60)",
            f"{path}.lock",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        outbox = Outbox(path, ["dingtalk://TokenToken"], "en")
        started = time.monotonic()
        assert (
            outbox.add(Message("K", MessageKind.PAGE, verbatim("t"), verbatim("b"), time.time())) == "queued"
        )
        assert time.monotonic() - started < 4
        assert outbox.waiting() == 1
        assert "locked by another process" in outbox.problems()[0].en
    finally:
        holder.kill()
        holder.communicate()
