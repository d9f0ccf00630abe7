"""How the service was started is read from the kernel, kept for its owner alone, and given to what is started next."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.process.boot_clock import boot_id
from ops.collect.process.start_time import start_ticks
from ops.control import launch
from ops.control.account import UserAccount
from ops.control.launch import Launch, Remembered, lost, missing_file, read_launch
from ops.control.restart import RestartError, Supervisor, start
from ops.interpret.process_ref import ProcessRef
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.health.assessment import Assessment
from ops.supervision.launches import Launches
from ops.supervision.observation import Observation
from ops.supervision.observe import process_state
from ops.supervision.state import ActionKind, Pending, ServiceState, WatchdogState
from ops.supervision.state_store import clocks
from tests.unit.supervision.made_observation import made_observation

HERE = UserAccount(os.getuid(), os.getgid(), tuple(os.getgroups()))
# Says that it is there, and then what the test wants it to do.
_WAITS = "print('there', flush=True); input()"


@contextmanager
def process(*words: str, program: str = _WAITS, **options: Any) -> Iterator[int]:
    """A process that was started with an environment and a directory of its own."""
    command = [*words, sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"there\n"
        try:
            yield started.pid
        finally:
            started.kill()


def made(*environment: str, cwd: str = "/", **changes: Any) -> Launch:
    facts: dict[str, Any] = {
        "account": HERE,
        "cwd": cwd,
        "umask": 0o022,
        "environment": tuple(map(os.fsencode, environment)),
    }
    return Launch(**(facts | changes))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_start_is_read_whole(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch()
    environment = {b"GTE_API_KEYS_FILE": b"keys", b"NAME": b"\xff\xfe", b"EMPTY": b"", b"INVOCATION_ID": b"1"}

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))

    with process(env=environment, cwd=tmp_path, umask=0o027, preexec_fn=limited) as pid:
        master_start = read_launch(pid)
    assert master_start is not None
    assert dict(entry.split(b"=", 1) for entry in master_start.environment) == environment
    assert (master_start.cwd, master_start.umask, master_start.account) == (str(tmp_path), 0o027, HERE)
    assert master_start.limits["RLIMIT_NOFILE"] == (100, 200)
    assert master_start.limits["RLIMIT_CPU"] == resource.getrlimit(resource.RLIMIT_CPU)
    assert master_start.files == ("GTE_API_KEYS_FILE",)
    assert b"INVOCATION_ID" not in master_start.variables, "systemd's own for one start"


def test_an_empty_environment_is_one() -> None:
    with process("env", "-i") as pid:
        master_start = read_launch(pid)
    assert master_start is not None
    assert master_start.environment == ()


def test_a_process_that_has_written_over_its_environment_is_not_believed() -> None:
    # As setproctitle(3) does: proc(5), /proc/pid/stat fields 50 and 51, env_start and env_end.
    overwrite = """
import ctypes
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = int(fields[47]), int(fields[48])
ctypes.memset(begin, 0, end - begin)
title = b"gunicorn: master [app]"
ctypes.memmove(begin, title, len(title))
"""
    with process(program=overwrite + _WAITS) as pid:
        assert read_launch(pid) is None
    assert read_launch(2**22) is None


# --- what has to be as it was -----------------------------------------------------------------------------------------

BEFORE = made(
    "GTE_API_KEYS_FILE=/k",
    "GTE_THREADS=2",
    "SSH_CONNECTION=x",
    "LANG=zh",
    "API_TOKEN=one",
    "NOTIFY_SOCKET=/n",
)


@pytest.mark.parametrize(
    ("after", "names"),
    [
        (BEFORE, ()),
        (made("GTE_API_KEYS_FILE=/k", "GTE_THREADS=2", "API_TOKEN=one"), ()),
        (made("GTE_API_KEYS_FILE=/k", "GTE_THREADS=4", "API_TOKEN=one", "MORE=1"), ()),
        (made("GTE_THREADS=2", "API_TOKEN=one"), ("GTE_API_KEYS_FILE",)),
        (
            made("GTE_API_KEYS_FILE=/other", "GTE_THREADS=2", "API_TOKEN=two"),
            ("API_TOKEN", "GTE_API_KEYS_FILE"),
        ),
        (made(), ("API_TOKEN", "GTE_API_KEYS_FILE", "GTE_THREADS")),
    ],
)
def test_what_is_missed(after: Launch, names: tuple[str, ...]) -> None:
    assert lost(BEFORE, after) == names


def test_a_hostile_name_reaches_no_message() -> None:
    assert lost(made("\x1b[31mA=1", "A B=2", "-x=3", "0=4", "GOOD=5"), made()) == ("GOOD",)


@pytest.mark.parametrize("name", ["GTE_API_KEYS_FILE", "SSL_CERT_FILE"])
def test_a_file_that_was_there_is_missed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "keys"
    path.write_text("x")
    before = made(f"{name}=keys", "GTE_LATER_FILE=later", cwd=str(tmp_path), files=(name,))
    assert missing_file(before) is None
    path.unlink()
    assert missing_file(before) == (name, str(path))


def test_a_file_of_the_services_own_making_may_be_gone() -> None:
    with process(env={"GTE_PID_FILE": "/etc/hostname", "ACCESS_LOG_FILE": "/etc/hostname"}) as pid:
        master_start = read_launch(pid)
    assert master_start is not None
    assert master_start.files == ()


# --- starting ---------------------------------------------------------------------------------------------------------

_SAYS = """
import os, resource
old = os.umask(0)
print(sorted(os.environ.items()), os.getcwd(), oct(old), resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
"""


def test_a_start_command_gets_what_the_service_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTE_OF_CRON", "1")
    before = made(
        "GTE_API_KEYS_FILE=/k", "PATH=/bin:/usr/bin", "GUNICORN_PID=7", "LC_CTYPE=C.UTF-8",
        cwd=str(tmp_path), umask=0o077, limits={"RLIMIT_NOFILE": (64, 128), "RLIMIT_OF_TOMORROW": (1, 1)},
    )  # fmt: skip
    output = tmp_path / "output"
    start(Supervisor(None, (sys.executable, "-c", _SAYS), "/", output, before))
    variables = [("GTE_API_KEYS_FILE", "/k"), ("LC_CTYPE", "C.UTF-8"), ("PATH", "/bin:/usr/bin")]
    assert output.read_text() == f"{variables} {tmp_path} 0o77 (64, 128)\n"


def test_it_is_not_started_without_a_keys_file_that_was_there(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    before = made(f"GTE_API_KEYS_FILE={tmp_path}/gone", files=("GTE_API_KEYS_FILE",))
    command = Supervisor(None, ("touch", str(marker)), "/", tmp_path / "output", before)
    with pytest.raises(RestartError, match=f"GTE_API_KEYS_FILE={tmp_path}/gone"):
        start(command)
    assert not marker.exists()


# --- from cycle to cycle ----------------------------------------------------------------------------------------------


def observation_of(pid: int) -> Observation:
    master = process_state(pid)
    assert master is not None
    return made_observation(master=master, clocks=clocks())


class Cycles:
    """What the watchdog does with it in a cycle in which the service is well."""

    def __init__(self, tmp_path: Path) -> None:
        self.path, self.journal = tmp_path / "launch.json", io.StringIO()
        self.launches = Launches(self.path, WatchdogJournal(self.journal))

    def __call__(
        self,
        pid: int,
        state: WatchdogState | None = None,
        service: ServiceState = ServiceState.HEALTHY,
    ) -> WatchdogState:
        now = observation_of(pid)
        state = self.launches.compare(now, state or WatchdogState())
        self.launches.remember(Assessment(service), now, state)
        return state

    @property
    def kept(self) -> Remembered:
        remembered = launch.load(self.path)
        assert remembered is not None
        return remembered


def restarting() -> WatchdogState:
    return WatchdogState(restarting_since=clocks().boottime, pending=Pending(ActionKind.RESTART, 0.0, 1e12))


def test_what_serves_is_remembered_for_its_owner_alone(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    with process(env={"A": "secret"}) as pid:
        cycle(pid, service=ServiceState.BOOTING)
        assert not cycle.path.exists()
        cycle(pid)
        assert cycle.path.stat().st_mode & 0o777 == 0o600
        assert cycle.kept == Remembered(cycle.kept.launch, ProcessRef(pid, start_ticks(pid)), boot_id())
    assert cycle.kept.launch.environment == (b"A=secret",)
    assert cycle.journal.getvalue() == ""


def test_whoever_else_starts_it_decides_how(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    for environment in ({"A": "1"}, {"B": "2"}):
        with process(env=environment) as pid:
            assert cycle(pid).environment_lost == ()
    assert cycle.kept.launch.environment == (b"B=2",)


def test_a_restart_that_lost_something_is_held_against_the_one_before_it(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    with process(env={"GTE_API_KEYS_FILE": "/k", "B": "2"}) as pid:
        cycle(pid)
    begun = restarting()
    with process(env={"B": "2"}) as pid:
        assert cycle(pid, begun).environment_lost == ("GTE_API_KEYS_FILE",)
        assert cycle(pid).environment_lost == ("GTE_API_KEYS_FILE",), "in the next cycle too"
        assert "GTE_API_KEYS_FILE" in cycle.journal.getvalue()
        assert "/k" not in cycle.journal.getvalue()
    assert b"GTE_API_KEYS_FILE=/k" in cycle.kept.launch.environment, "the next restart has it"
    with process(env={}) as pid:
        assert cycle(pid).environment_lost == (), "somebody else's start"


def test_forgetting_takes_what_runs_for_right(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    with process(env={"A": "1"}) as pid:
        cycle(pid)
    begun = restarting()
    with process(env={}) as pid:
        assert cycle(pid, begun).environment_lost == ("A",)
        assert launch.forget(cycle.path)
        assert not launch.forget(cycle.path)
        assert cycle(pid).environment_lost == ()
    assert cycle.kept.launch.environment == ()


def test_a_restart_with_all_it_had_is_one(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    with process(env={"A": "1"}) as pid:
        cycle(pid)
    begun = restarting()
    with process(env={"A": "1", "INVOCATION_ID": "2"}) as pid:
        state = cycle(pid, begun)
    assert (state.environment_lost, state.other_user) == ((), False)


def test_what_systemd_starts_gets_what_its_unit_says(tmp_path: Path) -> None:
    cycle = Cycles(tmp_path)
    with process(env={"A": "1", "INVOCATION_ID": "1"}) as pid:
        cycle(pid)
    begun = restarting()
    with process(env={"INVOCATION_ID": "2"}) as pid:
        assert cycle(pid, begun).environment_lost == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}'])
def test_a_torn_file_is_nothing_remembered(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "launch.json"
    path.write_bytes(content)
    assert launch.load(path) is None


def test_a_file_of_another_version_is_nothing_remembered(tmp_path: Path) -> None:
    remembered = Remembered(made("A=1"), ProcessRef(1, 1), "b")
    path = tmp_path / "launch.json"
    launch.save(path, remembered)
    assert launch.load(path) == remembered
    launch.save(path, msgspec.structs.replace(remembered, version=2))
    assert launch.load(path) is None
