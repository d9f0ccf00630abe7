"""The model directory on disk."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest

from ops.collect.services.model import is_archive, model_files
from ops.collect.services.model_access import reader_of, ways_into
from ops.facts.base import NotSeen
from ops.facts.files import ModelFiles, ModelProblem

NAME = "nlp_gte_sentence-embedding_chinese-large"


def look(path: Path) -> ModelFiles:
    files = model_files(str(path))
    assert isinstance(files, ModelFiles), files
    return files


def test_a_model_in_place(tmp_path: Path) -> None:
    model = tmp_path / NAME
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "vocab.txt").touch()
    files = look(model)
    assert files.exists
    assert files.is_directory
    assert files.has_config
    assert not files.nested
    assert files.entries == ("config.json", "vocab.txt")
    assert files.archives == ()


def test_one_directory_too_deep(tmp_path: Path) -> None:
    (tmp_path / NAME / NAME).mkdir(parents=True)
    (tmp_path / NAME / NAME / "config.json").write_text("{}")
    files = look(tmp_path / NAME)
    assert (files.has_config, files.nested) == (False, True)


def test_still_an_archive(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.zip").touch()
    files = look(tmp_path / NAME)
    assert (files.exists, files.parent_exists, files.archives) == (
        False,
        True,
        (str(tmp_path / f"{NAME}.zip"),),
    )


def test_missing_with_its_parents(tmp_path: Path) -> None:
    files = look(tmp_path / "iic" / NAME)
    assert (files.exists, files.parent_exists, files.archives) == (False, False, ())


def test_a_file_or_a_dead_link_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    assert (look(tmp_path / "file").exists, look(tmp_path / "file").is_directory) == (True, False)
    assert not look(tmp_path / "link").exists
    assert not look(tmp_path / "file" / "below").exists


@pytest.mark.parametrize("path", [None, "", "/a\0b"])
def test_nothing_to_look_at(path: str | None) -> None:
    assert isinstance(model_files(path), NotSeen)


def test_a_trailing_slash_and_hostile_names(tmp_path: Path) -> None:
    model = tmp_path / NAME
    model.mkdir()
    (model / "\x1b[31mred\n").touch()
    for number in range(300):
        (model / f"part-{number}").touch()
    files = model_files(f"{model}/")
    assert isinstance(files, ModelFiles)
    assert files.path == str(model)
    assert len(files.entries) == 200
    assert not any("\x1b" in name for name in files.entries)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_this_user_may_not_see_needs_root(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for directory in (tmp_path, *tmp_path.parents[:-2]):
                directory.chmod(directory.stat().st_mode | 0o055)
            os.setuid(65534)
            files = model_files(str(tmp_path / "closed" / NAME))
            status = 0 if isinstance(files, NotSeen) and files.needs_root else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst", "-v1.tar.xz", ".ZIP"])
def test_archives(ending: str) -> None:
    assert is_archive(NAME + ending, NAME)


@pytest.mark.parametrize("name", [NAME, "other.zip", NAME + ".md", NAME + "-backup", "zip"])
def test_no_archives(name: str) -> None:
    assert not is_archive(name, NAME)


HEADER = json.dumps(
    {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {}}
).encode()
TENSORS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0" * 8


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive_file:
        archive_file.writestr("archive/data.pkl", b"x" * 500)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.safetensors", TENSORS, None),
        ("model.safetensors", TENSORS[:-1], "truncated"),
        ("model.safetensors", TENSORS[:20], "truncated"),
        ("model.safetensors", TENSORS[:5], "truncated"),
        ("model.safetensors", TENSORS + b"x", "overlong"),
        ("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}", "truncated"),
        ("model.safetensors", struct.pack("<Q", 2) + b"}{", "truncated"),
        ("model.safetensors", b"", "empty"),
        ("pytorch_model.bin", archive(), None),
        ("pytorch_model.bin", archive()[:-40], "truncated"),
        ("pytorch_model.bin", b"\x80\x02 an old pickle", None),
        ("pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "lfs_pointer"),
        ("config.json", b'{"a": 1', "not_json"),
        ("config.json", b"[" * 100_000, "not_json"),
        ("config.json", b"{}", None),
        ("vocab.txt", b"", "empty"),
    ],
)
def test_a_file_that_is_not_whole_is_known_by_its_content(
    tmp_path: Path, name: str, content: bytes, problem: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    (file,) = look(tmp_path).files
    assert (file.problem, file.size) == (problem, len(content))


def test_what_a_model_is_not_loaded_from_is_not_looked_at(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE", "requirements.txt", ".msc", "logo.png"):
        (tmp_path / name).touch()
    (tmp_path / "nested.json").mkdir()
    assert look(tmp_path).files == ()


def test_a_pipe_and_a_dead_link_among_the_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.bin")
    (tmp_path / "b.bin").symlink_to("gone")
    assert [file.problem for file in look(tmp_path).files] == ["unreadable", "absent"]


def test_a_shard_that_the_index_names_is_missing_once(tmp_path: Path) -> None:
    shards = {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors", "d": "../etc/passwd"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "1.safetensors").write_bytes(TENSORS)
    problems = {Path(file.path).name: file.problem for file in look(tmp_path).files}
    assert problems["2.safetensors"] == "absent"
    assert list(problems.values()).count(ModelProblem.ABSENT) == 1


def test_the_way_into_a_model_is_seen_through_links(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir(mode=0o711)
    (blobs / "weights").write_bytes(TENSORS)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").symlink_to(blobs / "weights")
    steps, complete = ways_into(model)
    by_path = {step.path: step for step in steps}
    assert complete
    assert by_path[str(blobs)].mode == 0o711
    assert by_path[str(blobs / "weights")].is_directory is False
    assert "/" in by_path


def test_this_process_may_be_asked_for_as_whom_it_reads() -> None:
    reader = reader_of(os.getpid())
    assert reader is not None
    assert (reader.uid, reader.gids[0]) == (os.geteuid(), os.getegid())
    assert reader_of(2**22 + 5) is None
