"""Which files of a model are downloaded, when, and how a failure is named."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from service.engines.download import client, process
from service.engines.download.client import may_download
from service.engines.gte import checkpoint
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason
from service.engines.registry import EngineRegistry, engines_of
from service.settings import SettingsError, read_settings
from tests.system.conftest import eventually


def test_only_a_directory_that_is_missing_or_empty_is_filled(tmp_path: Path) -> None:
    place = tmp_path / "gte"
    assert may_download(place)
    place.mkdir()
    assert may_download(place)
    (place / "notes.txt").touch()
    assert not may_download(place), "somebody's file is in it"


def test_an_archive_that_waits_to_be_unpacked_is_not_downloaded_over(tmp_path: Path) -> None:
    (tmp_path / "gte.tar.gz").touch()
    assert not may_download(tmp_path / "gte")
    with pytest.raises(EngineUnavailableError, match=r"unpack gte\.tar\.gz"):
        checkpoint.require_model(tmp_path / "gte")


def test_a_file_in_the_directorys_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gte").touch()
    assert not may_download(tmp_path / "gte")


def test_a_link_is_followed_to_where_the_model_belongs(tmp_path: Path) -> None:
    (tmp_path / "gte").symlink_to(tmp_path / "disk" / "gte")
    assert may_download(tmp_path / "gte")
    (tmp_path / "disk" / "gte").mkdir(parents=True)
    (tmp_path / "disk" / "gte" / "config.json").touch()
    assert not may_download(tmp_path / "gte")


def listing(*names: str) -> list[dict[str, Any]]:
    return [{"Path": name, "Size": 7, "Type": "blob"} for name in names]


BESIDE = ("config.json", "configuration.json", "vocab.txt")


@pytest.mark.parametrize(
    ("there", "weights"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            ["model.safetensors.index.json", "model-2-of-2.safetensors", "model-1-of-2.safetensors"],
            ["model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors"],
        ),
        (["model.safetensors.index.json", "pytorch_model.bin"], ["pytorch_model.bin"]),
    ],
)
def test_the_weights_are_downloaded_in_one_form_only(there: list[str], weights: list[str]) -> None:
    chosen = process.needed(listing(*BESIDE, *there, "README.md", "onnx/model.onnx", "onnx/config.json"))
    assert [file.name for file in chosen] == [*BESIDE, *weights]


@pytest.mark.parametrize("there", [["model.safetensors"], ["config.json", "tf_model.h5"], []])
def test_a_model_without_configuration_or_weights_is_refused_before_anything_is_downloaded(
    there: list[str],
) -> None:
    with pytest.raises(Exception, match=r"names no config\.json or no weights"):
        process.needed(listing(*there))


class _SeveralFailedError(Exception):
    """As modelscope_hub.errors.FileDownloadError."""

    def __init__(self, first: Exception) -> None:
        super().__init__("1 of 5 file(s) failed")
        self.failed_files = {"model.safetensors": first}


class _AnsweredError(Exception):
    status_code = 404


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (_SeveralFailedError(OSError(errno.ENOSPC, "No space left on device")), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), r"cannot be written \(Permission denied\)"),
        (_AnsweredError(), "the hub answered 404"),
        (ConnectionError("refused"), r"could not be reached, or broke off \(ConnectionError\)"),
    ],
)
def test_a_failure_is_named_by_what_caused_it(error: Exception, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(process._reason(error))


def test_a_mount_point_is_refused_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path)
    with pytest.raises(Exception, match="name a directory in it"):
        process._fill(tmp_path, "encoder", checkpoint.MODEL, None)  # type: ignore[arg-type]


def test_nothing_is_downloaded_unless_it_is_asked_for(tmp_path: Path) -> None:
    directory = {"GTE_MODEL_DIR": str(tmp_path / "gte"), "GTE_UNINLU_DIR": str(tmp_path / "uninlu")}
    assert engines_of(read_settings(directory))._fetches == {}
    asked = {**directory, "GTE_MODEL_DOWNLOAD": "1"}
    assert set(engines_of(read_settings(asked))._fetches) == {"encoder", "extractor"}
    assert engines_of(read_settings({**asked, "GTE_ENGINE": "embedded"}))._fetches == {}


def test_a_download_needs_to_be_told_where_to() -> None:
    with pytest.raises(SettingsError, match="GTE_MODEL_DOWNLOAD=1: set GTE_MODEL_DIR"):
        read_settings({"GTE_MODEL_DOWNLOAD": "1"})


def test_attempts_that_fail_are_repeated_ever_more_slowly_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[tuple[str, str] | None] = [("no network", "")] * 8 + [None]
    monkeypatch.setattr(client, "_attempt", lambda *_: outcomes.pop(0))
    reports: list[EngineUnavailableError] = []
    pauses: list[float] = []
    client.fetch(checkpoint.SOURCE, tmp_path, reports.append, pauses.append)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]
    assert {one.reason for one in reports} == {"model_missing"}
    assert "no network; tried again in 600 s" in reports[-1].detail
    assert not outcomes


def test_a_process_that_cannot_be_started_is_a_failed_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> Any:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("service.engines.child_process.start", start)
    assert client._attempt(checkpoint.SOURCE, tmp_path, lambda _: None) == (
        "its process could not be started (Resource temporarily unavailable)",
        "",
    )


class _Loaded:
    name = "loaded"


def test_nobody_waits_for_a_download_and_the_other_engines_stand_meanwhile() -> None:
    began, go_on, others = threading.Event(), threading.Event(), threading.Event()

    def fetch(tell: Any) -> None:
        tell(EngineUnavailableError(EngineKind.ENCODER, UnavailableReason.LOADING, "3 of 9 MB"))
        began.set()
        assert go_on.wait(10)

    loaders: dict[Any, Any] = {"encoder": _Loaded, "lexical": _Loaded}
    engines = EngineRegistry(loaders, load_wait=10, fetches={EngineKind.ENCODER: fetch})
    engines.start(then=others.set)
    assert others.wait(10), "the worker never counts as ready, and the watchdog would end it"
    assert began.wait(10)
    assert engines.lexical().name == "loaded"
    with pytest.raises(EngineUnavailableError, match="3 of 9 MB"):
        engines.encoder()
    assert engines.readiness().reason == "loading"
    go_on.set()
    eventually(lambda: engines.readiness().reason is None)
    assert engines.encoder().name == "loaded"
