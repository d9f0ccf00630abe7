"""The model directory on disk."""

import os
from pathlib import Path

import pytest

from ops.collect.model import is_archive, model_files
from ops.snapshot import ModelFiles, NotSeen

NAME = "nlp_gte_sentence-embedding_chinese-large"


def look(path: Path) -> ModelFiles:
    found = model_files(str(path))
    assert isinstance(found, ModelFiles), found
    return found


def test_a_model_in_place(tmp_path: Path):
    model = tmp_path / NAME
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "vocab.txt").touch()
    seen = look(model)
    assert seen.exists
    assert seen.is_directory
    assert seen.has_config
    assert not seen.nested
    assert seen.entries == ("config.json", "vocab.txt")
    assert seen.archives == ()


def test_one_directory_too_deep(tmp_path: Path):
    (tmp_path / NAME / NAME).mkdir(parents=True)
    (tmp_path / NAME / NAME / "config.json").write_text("{}")
    seen = look(tmp_path / NAME)
    assert (seen.has_config, seen.nested) == (False, True)


def test_still_an_archive(tmp_path: Path):
    (tmp_path / f"{NAME}.zip").touch()
    seen = look(tmp_path / NAME)
    assert (seen.exists, seen.parent_exists, seen.archives) == (False, True, (str(tmp_path / f"{NAME}.zip"),))


def test_missing_with_its_parents(tmp_path: Path):
    seen = look(tmp_path / "iic" / NAME)
    assert (seen.exists, seen.parent_exists, seen.archives) == (False, False, ())


def test_a_file_or_a_dead_link_in_its_place(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    assert (look(tmp_path / "file").exists, look(tmp_path / "file").is_directory) == (True, False)
    assert not look(tmp_path / "link").exists
    assert not look(tmp_path / "file" / "below").exists


@pytest.mark.parametrize("path", [None, "", "/a\0b"])
def test_nothing_to_look_at(path: str | None):
    assert isinstance(model_files(path), NotSeen)


def test_a_trailing_slash_and_hostile_names(tmp_path: Path):
    model = tmp_path / NAME
    model.mkdir()
    (model / "\x1b[31mred\n").touch()
    for number in range(300):
        (model / f"part-{number}").touch()
    found = model_files(f"{model}/")
    assert isinstance(found, ModelFiles)
    assert found.path == str(model)
    assert len(found.entries) == 200
    assert not any("\x1b" in name for name in found.entries)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_this_user_may_not_see_needs_root(tmp_path: Path):
    (tmp_path / "closed").mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for directory in (tmp_path, *tmp_path.parents[:-2]):
                directory.chmod(directory.stat().st_mode | 0o055)
            os.setuid(65534)
            found = model_files(str(tmp_path / "closed" / NAME))
            status = 0 if isinstance(found, NotSeen) and found.needs_root else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst", "-v1.tar.xz", ".ZIP"])
def test_archives(ending: str):
    assert is_archive(NAME + ending, NAME)


@pytest.mark.parametrize("name", [NAME, "other.zip", NAME + ".md", NAME + "-backup", "zip"])
def test_no_archives(name: str):
    assert not is_archive(name, NAME)
