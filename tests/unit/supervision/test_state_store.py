"""The state on disk: whole or the one before, torn files aside, one watchdog at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ops.collect.process.boot_clock import boot_id
from ops.errors import OpsError
from ops.files.atomic_file import write_atomically
from ops.supervision import state_store as on_disk
from ops.supervision.observation import Clocks
from ops.supervision.state import ActionKind, ActionRecord, Fault, Subject, WatchdogState, from_json, to_json
from ops.supervision.state_store import (
    Lock,
    LockedError,
    Pause,
    StateStore,
    clocks,
    is_locked,
    refuse_shared_directory,
)
from tests.unit.supervision.made_observation import BOOT, WALL, made_state, moment


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "new" / "watchdog.json")
    assert store.load(clocks()).cycles == 0
    saved = msgspec.structs.replace(made_state(101), boot_id=boot_id(), cycles=7)
    assert store.save(saved)
    assert store.load(clocks()) == saved
    assert (tmp_path / "new" / "watchdog.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'{"version": 99}', b"\x00" * 100, b'{"rounds": "x"}', b"[" * 5000]
)
def test_a_torn_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "watchdog.json"
    path.write_bytes(content)
    store = StateStore(path)
    assert store.load(clocks()).cycles == 0
    assert store.trouble is None
    assert store.set_aside is not None
    assert store.set_aside.read_bytes() == content
    assert store.save(WatchdogState())


def test_every_prefix_of_a_state_is_either_it_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    whole = to_json(msgspec.structs.replace(made_state(101, 102), boot_id=boot_id()))
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        StateStore(path).load(clocks())
    assert len(list(tmp_path.glob("*.torn-*"))) <= on_disk.KEPT_TORN


def test_a_state_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = StateStore(tmp_path / "file" / "watchdog.json")
    assert store.load(clocks()).cycles == 0
    assert not store.save(WatchdogState())
    assert "cannot be written" in (store.trouble or "")


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "watchdog.json"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_one_at_a_time_also_across_processes(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    holder = (
        "import sys, time; from pathlib import Path; from ops.supervision.state_store import Lock\n"
        "with Lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            assert is_locked(path)
            with pytest.raises(LockedError), Lock(path):
                pass
        finally:
            other.kill()
    assert not is_locked(path), "the lock dies with its holder"


def test_one_at_a_time_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "watchdog.json"
    with Lock(path), pytest.raises(LockedError), Lock(path):
        pass
    with Lock(path):
        pass


def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "watchdog.json")
    assert store.paused(WALL) is None
    store.pause(Pause(until=WALL + 60, since=WALL))
    assert store.paused(WALL + 59) is not None
    assert store.paused(WALL + 60) is None
    assert store.paused(WALL - 30 * 86400) is None, "the clock was set: no pause is that long"
    assert store.resume()
    assert not store.resume()
    store.pause_path.write_text("{")
    assert store.paused(WALL) is None


def test_after_a_reboot_the_budget_stays_and_processes_are_forgotten() -> None:
    before = made_state(
        101,
        boot_id="one",
        subject=Subject(backend="127.0.0.1:8000", command=("gunicorn",)),
        failures=2,
        actions=(
            ActionRecord(at=BOOT - 100, wall=WALL - 100, kind=ActionKind.RESTART, fault=Fault.MASTER_GONE),
        ),
        circuit_open=True,
        rearm_at=BOOT + 500,
        counters={"restart": 4},
    )
    assert before.carried_over("one", moment(5.0)) == before
    # Five minutes later, thirty seconds after the new boot.
    now = Clocks(wall=WALL + 300, monotonic=30.0, boottime=30.0)
    after = before.carried_over("two", now)
    assert after.actions[0].at == 30.0 - 400
    assert after.rearm_at == 30.0 + 200
    assert (after.circuit_open, after.counters, after.failures, after.workers) == (
        True,
        {"restart": 4},
        0,
        {},
    )
    assert after.subject.command == ("gunicorn",)
    assert from_json(to_json(after)) == after


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "watchdog.json")
    os.mkfifo(store.path)
    os.mkfifo(store.pause_path)
    assert store.load(clocks()).cycles == 0
    assert store.trouble is not None
    assert store.paused(WALL) is None


@pytest.mark.parametrize("name", ["", "to/be/made"])
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_state_in_a_directory_of_everybodys_is_refused(tmp_path: Path, mode: int, name: str) -> None:
    refuse_shared_directory(tmp_path / name)
    tmp_path.chmod(mode)
    with pytest.raises(OpsError, match="everybody may write"):
        refuse_shared_directory(tmp_path / name)


def test_a_request_to_rearm_is_answered_once(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "watchdog.json")
    assert not store.take_rearm()
    store.ask_to_rearm()
    assert store.take_rearm()
    assert not store.take_rearm()
