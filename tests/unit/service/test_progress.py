"""Progress records: written, read, and removed when their process is gone."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engines.interface import UnavailableReason
from service.engines.registry import Readiness
from service.monitoring import progress
from service.monitoring.load import Load, load_of
from service.monitoring.progress import Phase, Progress, Record, Request, process_facts, read, read_all
from service.prediction.readiness import judge


def own(directory: Path) -> Path:
    return directory / f"{os.getpid()}.json"


def wait_for(path: Path, **expected: object) -> dict[str, object]:
    """The record at ``path`` once it has the expected members."""
    tick = threading.Event()
    members: dict[str, object] = {}
    for _ in range(500):
        members = json.loads(path.read_bytes())
        if expected.items() <= members.items():
            return members
        tick.wait(0.01)
    pytest.fail(f"{members} never had {expected}")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Progress]:
    progress_record = Progress(tmp_path / "made" / "on demand").start()
    yield progress_record
    progress_record.close()


def test_a_record_begins_with_booting(record: Progress) -> None:
    assert json.loads(own(record.directory).read_bytes()) == {
        "pid": os.getpid(),
        "start_ticks": int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]),
        "phase": "booting",
        "completed": 0,
        "last_completed": None,
        "in_flight": [],
    }


def test_a_request_is_in_flight_until_it_ends(record: Progress) -> None:
    record.begin(1, "/predict")
    record.begin(2, "/" + "x" * 1000)
    members = json.loads(record.snapshot().to_json())
    assert members["in_flight"][0]["path"] == "/predict"
    assert len(members["in_flight"][1]["path"]) == 200
    record.end(1)
    record.end(1)
    record.end(2)
    written = wait_for(own(record.directory), completed=2, in_flight=[])
    assert written["last_completed"] is not None


def test_a_request_is_in_the_file_before_it_can_hold_the_interpreter(record: Progress) -> None:
    """However soon it follows the one before: a thread that writes later may never run again."""
    record.enter(Phase.READY)
    for key in range(2000):
        path = "/" + "x" * (key * 7 % 190)
        record.begin(key, path)
        members = json.loads(own(record.directory).read_bytes())
        assert [request["path"] for request in members["in_flight"]] == [path]
        record.end(key)
    wait_for(own(record.directory), completed=2000, in_flight=[])


def test_a_reader_meets_no_shifted_digits(record: Progress) -> None:
    """Whoever reads while it is written meets the state before, the state after, or what is no record at all."""
    record.enter(Phase.READY)
    ended = threading.Event()
    began = time.time()

    def serve() -> None:
        key = 0
        while not ended.is_set():
            key += 1
            record.begin(key, "/" + "x" * (key % 150))
            record.end(key)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        records = [read(own(record.directory)) for _ in range(3000)]
    finally:
        ended.set()
        serving.join()
    whole = [reading for reading in records if reading is not None]
    assert len(whole) > 2900
    for reading in whole:
        assert all(began - 1 < request.since < began + 120 for request in reading.in_flight)
        assert reading.last_completed is None or began - 1 < reading.last_completed < began + 120


def test_a_burst_ends_in_the_newest_state(record: Progress) -> None:
    record.enter(Phase.READY)

    def serve(first: int) -> None:
        for key in range(first, first + 200):
            record.begin(key, "/predict")
            record.end(key)

    threads = [threading.Thread(target=serve, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(own(record.directory), completed=1600, in_flight=[], phase="ready")


def test_a_stop_shows_though_the_request_in_flight_never_ends(tmp_path: Path) -> None:
    stopping = threading.Event()
    progress_record = Progress(tmp_path, stopping=stopping.is_set).start()
    progress_record.enter(Phase.READY)
    progress_record.begin(1, "/predict")
    stopping.set()
    wait_for(own(tmp_path), phase="draining")
    progress_record.enter(Phase.READY)
    assert progress_record.snapshot().phase == "draining"
    progress_record.close()


def test_close_removes_the_record_and_nothing_brings_it_back(record: Progress) -> None:
    record.close()
    record.begin(1, "/predict")
    record.enter(Phase.READY)
    assert list(record.directory.iterdir()) == []


def test_where_nothing_can_be_written_requests_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level("WARNING", "gte_progress"):
        progress_record = Progress(tmp_path / "file" / "below")
        progress_record.begin(1, "/predict")
        progress_record.end(1)
        progress_record.enter(Phase.READY)
    assert progress_record.snapshot().completed == 1
    assert [message for message in caplog.messages if "no progress records" in message] == caplog.messages


def test_records_of_live_processes_are_read_and_others_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    progress_record = Progress(tmp_path)
    template = json.loads(own(tmp_path).read_bytes())
    (tmp_path / "1.json").write_text(json.dumps({**template, "pid": 1, "start_ticks": 99}))
    (tmp_path / f"{ended.pid}.json").write_text(json.dumps({**template, "pid": ended.pid}))
    (tmp_path / "7.json").write_text('{"pid": 7, "torn')
    (tmp_path / "notes.json").write_text("not ours")
    assert [live.pid for live in read_all(tmp_path)] == [os.getpid()]
    assert {path.name for path in tmp_path.iterdir()} == {own(tmp_path).name, "7.json", "notes.json"}
    progress_record.close()


def test_a_directory_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert read_all(tmp_path / "nothing") == []
    assert read(tmp_path / "1.json") is None


def test_a_record_survives_the_way_to_the_file_and_back() -> None:
    made = Record(5, 6, Phase.READY, 7, 8.5, (Request("/predict", 9.25),))
    assert Record.from_json(made.to_json()) == made


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"pid": 1}', b"\xff"])
def test_what_is_no_record_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a progress record"):
        Record.from_json(content)


def test_facts_of_a_process() -> None:
    facts = process_facts(os.getpid())
    assert facts is not None
    assert facts.parent == os.getppid()
    assert process_facts(2**22 - 1) is None


def test_only_children_of_the_same_master_are_siblings(tmp_path: Path) -> None:
    progress_record = Progress(tmp_path)
    assert [sibling.pid for sibling in progress.siblings(read_all(tmp_path), os.getppid())] == [os.getpid()]
    assert progress.siblings(read_all(tmp_path), os.getpid()) == []
    progress_record.close()


# --- the rule behind /ready -------------------------------------------------------------------------------


def worker(phase: Phase, *paths: str) -> Record:
    return Record(1, 1, phase, 0, None, tuple(Request(path, 0.0) for path in paths))


def test_only_predictions_count_and_only_of_workers_that_take_more() -> None:
    records = [
        worker(Phase.READY, "/predict", "/health"),
        worker(Phase.BOOTING),
        worker(Phase.DRAINING, "/predict", "/predict"),
        worker(Phase.READY, "/v1/embeddings", "/metrics"),
    ]
    assert load_of(records, 4) == Load(in_flight=2, capacity=12)


@pytest.mark.parametrize(
    ("engines", "load", "reason"),
    [
        (None, Load(0, 4), None),
        (None, Load(3, 4), None),
        (None, Load(4, 4), "saturated"),
        (None, Load(5, 4), "saturated"),
        (UnavailableReason.MODEL_MISSING, Load(4, 4), "model_missing"),
        (UnavailableReason.LOADING, Load(0, 4), "loading"),
        (None, Load(0, 0), None),
    ],
)
def test_readiness(engines: UnavailableReason | None, load: Load, reason: str | None) -> None:
    assert judge(Readiness(engines, "detail"), load).reason == reason
