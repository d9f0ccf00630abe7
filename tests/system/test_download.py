"""GTE_MODEL_DOWNLOAD: a model that arrives whole or not at all, from a mock of ModelScope's hub (mock_hub.py)."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.engines.download.client import Source, fetch
from service.engines.gte.checkpoint import MODEL, SOURCE, require_model
from service.engines.interface import EngineKind, EngineUnavailableError
from tests.made_checkpoint import SHORT, make
from tests.system.conftest import ROOT, Gunicorn, eventually, free_port, gunicorn
from tests.system.mock_hub import Hub, mock_hub

PATIENCE = 120.0
WEIGHTS = "model.safetensors"
NEEDED = ["config.json", "configuration.json", WEIGHTS, "tokenizer_config.json", "vocab.txt"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub has: the model, and what nobody here needs."""
    directory = make(tmp_path_factory.mktemp("hub") / "model", **SHORT)  # type: ignore[arg-type]
    (directory / "README.md").write_text("a model", encoding="utf-8")
    (directory / "pytorch_model.bin").write_bytes(b"the same weights again")
    (directory / "onnx").mkdir()
    (directory / "onnx" / "config.json").write_text("{}", encoding="utf-8")
    return directory


@pytest.fixture
def hub(served: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with mock_hub(served) as started:
        for name, value in started.environment().items():
            monkeypatch.setenv(name, value)
        # A service's user need not have one.
        monkeypatch.setenv("HOME", "/nonexistent")
        yield started


class _EnoughError(Exception):
    """Ends the attempts."""


def attempt(directory: Path, source: Source = SOURCE) -> list[EngineUnavailableError]:
    """What is told of one attempt."""
    told: list[EngineUnavailableError] = []

    def enough(_seconds: float) -> None:
        raise _EnoughError

    with contextlib.suppress(_EnoughError):
        fetch(source, directory, told.append, enough)
    return told


def assert_is_the_model(directory: Path, served: Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == NEEDED
    for name in NEEDED:
        assert (directory / name).read_bytes() == (served / name).read_bytes()
    require_model(directory)


def download_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "service.engines.download.process" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_missing_directory_is_filled_with_what_is_needed_and_nothing_is_left_beside_it(
    hub: Hub, served: Path, tmp_path: Path
) -> None:
    place = tmp_path / "models" / "gte"
    told = attempt(place)
    assert {one.reason for one in told} == {"loading"}
    assert_is_the_model(place, served)
    assert list(place.parent.iterdir()) == [place]
    assert {name for name, _ in hub.asked} == {"", *NEEDED}, "the list, and no file that is not needed"


@pytest.mark.usefixtures("hub")
def test_an_empty_directory_keeps_its_mode(served: Path, tmp_path: Path) -> None:
    place = tmp_path / "gte"
    place.mkdir(mode=0o750)
    assert attempt(place)[-1].reason == "loading"
    assert_is_the_model(place, served)
    assert place.stat().st_mode & 0o777 == 0o750


def test_a_download_that_is_killed_is_no_model_and_the_next_one_goes_on_where_it_stopped(
    hub: Hub, served: Path, tmp_path: Path
) -> None:
    place = tmp_path / "gte"
    half = (served / WEIGHTS).stat().st_size // 2
    hub.stop_after[WEIGHTS] = half

    def arrived_half() -> bool:
        partial = sum(f.stat().st_size for f in (tmp_path / ".gte.download").rglob(f"{WEIGHTS}*"))
        return hub.stopped.is_set() and partial >= half // 2

    def kill() -> None:
        try:
            eventually(arrived_half, PATIENCE)
        finally:
            download_processes()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    told = attempt(place)
    killer.join()
    assert told[-1].reason == "model_missing"
    assert "was ended by SIGKILL" in told[-1].detail
    assert not place.exists()
    hub.stop_after.clear()
    hub.go_on.set()
    attempt(place)
    assert_is_the_model(place, served)
    first, second = hub.downloads_of(WEIGHTS)
    assert first is None
    assert second is not None
    assert second.startswith("bytes=")
    assert half // 2 <= int(second.removeprefix("bytes=").rstrip("-")) <= half


@pytest.mark.parametrize("fault", ["shortened", "spoilt"])
def test_a_file_that_is_not_what_the_hub_lists_is_refused_and_the_next_attempt_is_whole(
    fault: str, hub: Hub, served: Path, tmp_path: Path
) -> None:
    place = tmp_path / "gte"
    getattr(hub, fault).add(WEIGHTS)
    failure = attempt(place)[-1]
    assert failure.reason == "model_missing"
    assert "what arrived is not what the hub announced" in failure.detail
    assert not place.exists()
    getattr(hub, fault).clear()
    attempt(place)
    assert_is_the_model(place, served)


@pytest.mark.usefixtures("hub")
def test_without_a_network_the_reason_and_the_command_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with caplog.at_level("ERROR", logger="service"):
        (failure,) = attempt(tmp_path / "gte")
    assert failure.reason == "model_missing"
    assert "the hub could not be reached" in failure.detail
    assert failure.detail.endswith(f'modelscope download --model {MODEL} --local_dir "$GTE_MODEL_DIR"')
    assert str(tmp_path) not in failure.detail, "it goes to clients"
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()


def test_a_model_that_this_service_cannot_use_does_not_take_the_directory(
    hub: Hub, served: Path, tmp_path: Path
) -> None:
    hub.files = tmp_path / "other"
    shutil.copytree(served, hub.files)
    (hub.files / "vocab.txt").unlink()
    failure = attempt(tmp_path / "gte")[-1]
    assert "no model for this service" in failure.detail
    assert not (tmp_path / "gte").exists()


def test_the_extractors_model_is_downloaded_likewise(hub: Hub, tmp_path: Path) -> None:
    hub.files = tmp_path / "hub"
    hub.files.mkdir()
    for name, content in (
        ("config.json", "{}"),
        ("configuration.json", '{"pipeline": {"type": "siamese-uie"}}'),
        ("pytorch_model.bin", "weights"),
        ("vocab.txt", "[PAD]"),
    ):
        (hub.files / name).write_text(content, encoding="utf-8")
    source = Source(EngineKind.EXTRACTOR, "GTE_UNINLU_DIR", "iic/some-uninlu")
    attempt(tmp_path / "uninlu", source)
    assert len(list((tmp_path / "uninlu").iterdir())) == 4
    (hub.files / "configuration.json").write_text(
        '{"pipeline": {"type": "siamese-uie"}, "allow_remote": true}'
    )
    assert "brings code of its own" in attempt(tmp_path / "second", source)[-1].detail
    assert not (tmp_path / "second").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_is_too_small_is_told_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from service.engines.download.client import fetch
from service.engines.gte.checkpoint import SOURCE
def enough(seconds):
    sys.exit(3)
fetch(SOURCE, Path(sys.argv[1]) / "gte", lambda told: print(told.detail), enough)
"""
    small = tmp_path / "small"
    small.mkdir()
    command = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", str(small), sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    if "mount" in done.stderr and done.returncode != 3:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 3, done.stderr
    assert "the disk is full: 6 MB are needed, 1 are free" in done.stdout
    assert WEIGHTS not in {name for name, _ in hub.asked}


# --- under gunicorn ---------------------------------------------------------------------------------------


def ready(service: Gunicorn) -> Any:
    return service.get("/ready").json


@pytest.mark.long
def test_a_service_that_downloads_its_model_lives_says_how_far_it_is_and_serves_it_then(
    hub: Hub, served: Path, tmp_path: Path
) -> None:
    """Two workers: one of them downloads. Both end at once when they are told to, and what has arrived stays."""
    place = tmp_path / "models" / "gte"
    size = (served / WEIGHTS).stat().st_size
    hub.stop_after[WEIGHTS] = size // 2
    variables = {
        "GTE_MODEL_DIR": str(place),
        "GTE_MODEL_DOWNLOAD": "1",
        "GTE_WORKERS": "2",
        "GTE_MODEL_THREADS": "1",
        "GTE_PRECISION": "float32",
    }
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()

    def all_tell_half(service: Gunicorn) -> bool:
        return all("%)" in ready(service)["detail"] for _ in range(8)) and hub.stopped.is_set()

    with gunicorn(first, wait_for="/health", **variables) as service:
        eventually(lambda: all_tell_half(service), PATIENCE)
        said = ready(service)
        assert (said["reason"], said["ready"]) == ("loading", False)
        assert f"{MODEL} is being downloaded" in said["detail"]
        assert service.get("/health").status == 200
        answer = service.predict("embedding", "甲")
        assert (answer.status, answer.json["code"]) == (503, "model_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert service.predict("ner", "北京").status == 200, "what needs another model is served"
        eventually(lambda: {one["phase"] for one in service.records()} == {"ready"})
        assert "MB (" in service.error_log
        assert "by another process" in service.error_log
        processes = download_processes()
        assert len(processes) == 2
        # As systemd's stop, to the whole group, and at the worst moment for one of the two.
        os.kill(service.records()[0]["pid"], signal.SIGKILL)
        assert service.stop() == 0
    psutil.wait_procs(processes, timeout=10)
    assert not any(process.is_running() for process in processes)
    assert not place.exists()
    hub.stop_after.clear()
    hub.go_on.set()
    with gunicorn(second, wait_for="/health", **variables) as service:
        eventually(lambda: all(service.status_of("/ready") == 200 for _ in range(8)), PATIENCE)
        assert_is_the_model(place, served)
        answer = service.predict("embedding", "甲")
        assert answer.json["result"]["dimension"] == SHORT["hidden"], answer.body
    began = [part for part in hub.downloads_of(WEIGHTS) if part is None]
    assert len(began) == 1, "nobody began it a second time"
