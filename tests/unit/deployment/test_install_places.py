"""Where files are installed, and copies of old ones kept: nowhere that others have a say in, and through no link."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.deployment.install import RefusedError, install, keep_copy, reason_not_to_replace
from ops.deployment.render import RenderedFile

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")


@pytest.fixture
def tree() -> Iterator[Path]:
    """The tree of an image, nobody else's above it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "etc", "cron.d")
        folder.mkdir(parents=True)
        yield Path(name)


def rule() -> RenderedFile:
    return RenderedFile("/etc/cron.d/gte-ops-backup", "0 3 * * * root true\n")


def put(tree: Path) -> None:
    install("cron", [rule()], tree, ())


def test_a_file_is_installed_and_the_old_one_kept_with_its_mode(tree: Path) -> None:
    place = tree / "etc/cron.d/gte-ops-backup"
    place.write_text("old\n")
    place.chmod(0o600)
    (item,) = install("cron", [rule()], tree, ())
    assert place.read_text() == rule().text
    assert Path(str(item.kept)).read_text() == "old\n"
    assert Path(str(item.kept)).stat().st_mode & 0o777 == 0o600


@as_root
@pytest.mark.parametrize("whose", ["the directory", "the one above", "the file", "everybody's"])
def test_nothing_is_installed_where_another_user_has_a_say(tree: Path, whose: str) -> None:
    folder = tree / "etc/cron.d"
    place = folder / "gte-ops-backup"
    place.write_text("old\n")
    if whose == "everybody's":
        folder.chmod(0o777)
    else:
        mine = {"the directory": folder, "the one above": folder.parent, "the file": place}[whose]
        os.chown(mine, NOBODY, NOBODY)
    with pytest.raises(RefusedError, match="nothing was changed"):
        put(tree)
    assert [path.name for path in folder.iterdir()] == ["gte-ops-backup"]
    assert place.read_text() == "old\n"


def test_no_link_of_a_tree_leads_out_of_it(tree: Path) -> None:
    with tempfile.TemporaryDirectory() as host:
        (tree / "etc/cron.d").rmdir()
        (tree / "etc/cron.d").symlink_to(host)
        with pytest.raises(RefusedError, match="leads out of"):
            put(tree)
        assert list(Path(host).iterdir()) == []


def test_nginxs_files_are_not_installed_where_its_test_must_not_be_run() -> None:
    with pytest.raises(RefusedError, match="nothing was changed"):
        install("nginx", [RenderedFile("/nonexistent/gte-api.conf", "")], Path("/"), ())


def test_a_directory_that_is_made_counts_by_the_one_above(tree: Path) -> None:
    assert reason_not_to_replace(tree / "not/there/yet") is None


def test_no_link_laid_under_a_copys_name_is_written_through(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20300101T000000")
    victim = tree / "victim"
    victim.write_text("mine\n")
    file = tree / "site.conf"
    file.write_text("old\n")
    (tree / "site.conf.20300101T000000~").symlink_to(victim)
    (tree / "site.conf.20300101T000000-2~").symlink_to(tree / "made by root")
    copy = keep_copy(file)
    assert victim.read_text() == "mine\n"
    assert not (tree / "made by root").exists()
    assert copy.name == "site.conf.20300101T000000-3~"
    assert copy.read_text() == "old\n"
    assert copy.stat().st_mtime_ns == file.stat().st_mtime_ns
