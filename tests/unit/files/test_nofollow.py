"""Who decides what lies at a path, and that a file somebody else named is never another one."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from ops.files.bounded_read import open_regular_file, read_regular_file
from ops.files.nofollow import path_entries, reason_not_to_trust

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
THEIRS = 65534


def give(path: Path, uid: int = THEIRS) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    place = tmp_path / "sbin"
    place.mkdir(mode=0o755)
    file = place / "program"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_every_step_of_a_path_is_looked_at_links_and_their_targets_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(tmp_path / "real" / ".." / "real")
    places = [entry.path for entry in path_entries(str(tmp_path / "a" / "file"))]
    assert places[0] == "/"
    assert places[-1] == str(tmp_path / "real" / "file")
    assert {str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "real")} <= set(places)


def test_parent_directories_are_those_of_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "file").write_text("right")
    (tmp_path / "file").write_text("wrong")
    (tmp_path / "link").symlink_to(tmp_path / "x" / "y")
    assert read_regular_file(f"{tmp_path}/link/../file", 10).content == b"right"
    assert Path(f"{tmp_path}/link/../file").read_text() == "right"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        path_entries(str(tmp_path / "a"))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_text("x")
    (tmp_path / "link").symlink_to("deep/er/file")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("link", "deep/er/file", "missing", "deep/er/file/below"):
        reason_not_to_trust(str(tmp_path / name))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_root_s_or_one_s_own_is_trusted(program: Path) -> None:
    assert reason_not_to_trust(str(program)) is None
    assert reason_not_to_trust("/bin/sh") is None


def test_what_is_not_there_is_not_trusted(tmp_path: Path) -> None:
    assert "cannot be looked at" in str(reason_not_to_trust(str(tmp_path / "missing")))


@as_root
@pytest.mark.parametrize("changed", ["file", "directory", "link"])
def test_what_another_user_owns_on_the_way_is_not(program: Path, tmp_path: Path, changed: str) -> None:
    path = program
    if changed == "file":
        give(program)
    elif changed == "directory":
        give(program.parent)
    else:
        path = tmp_path / "link"
        path.symlink_to(program)
        give(path)
    assert f"belongs to user {THEIRS}" in str(reason_not_to_trust(str(path)))


@as_root
def test_an_access_control_list_that_lets_another_write_is_not_overlooked(program: Path) -> None:
    # acl(5): user::rwx, user:65534:rwx, group::r-x, mask::rwx, other::r-x, as the kernel keeps it.
    entries = ((1, 7, 2**32 - 1), (2, 7, THEIRS), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1), (32, 5, 2**32 - 1))
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(program, "system.posix_acl_access", packed)
    assert "may be written by its group" in str(reason_not_to_trust(str(program)))


@as_root
def test_a_group_in_which_nobody_else_is_may_write(program: Path) -> None:
    program.chmod(0o775)
    os.chown(program, 0, 0)
    assert reason_not_to_trust(str(program)) is None
    os.chown(program, 0, 65534)  # nogroup: nobody's own group
    assert "may be written by its group" in str(reason_not_to_trust(str(program)))


# --- opening ---


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "log"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        open_regular_file(str(place))


@as_root
def test_a_link_of_another_user_is_followed_to_that_user_s_files_alone(tmp_path: Path) -> None:
    secret, own = tmp_path / "secret", tmp_path / "own"
    secret.write_text("root's")
    own.write_text("theirs")
    give(own)
    link = tmp_path / "log"
    link.symlink_to(secret)
    assert open_regular_file(str(link)).read() == b"root's"
    give(link)
    with pytest.raises(OSError, match="a link of user 65534 leads to a file of user 0"):
        open_regular_file(str(link))
    link.unlink()
    link.symlink_to(own)
    give(link)
    assert open_regular_file(str(link)).read() == b"theirs"


@as_root
def test_a_link_to_a_directory_on_the_way_is_no_way_round(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "shadow").write_text("root's")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    give(theirs)
    give_link = theirs / "logs"
    give_link.symlink_to(tmp_path / "root")
    give(give_link)
    with pytest.raises(OSError, match="a link of user"):
        open_regular_file(str(theirs / "logs" / "shadow"))


@as_root
def test_another_name_of_root_s_file_in_another_s_directory_is_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "log").hardlink_to(secret)
    assert open_regular_file(str(theirs / "log")).read() == b"root's"
    give(theirs)
    with pytest.raises(OSError, match="it has several names"):
        open_regular_file(str(theirs / "log"))


@as_root
def test_a_user_s_process_names_only_files_that_this_user_may_write(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.write_text("line")
    log.chmod(0o644)
    with pytest.raises(OSError, match="names a file of user 0 that it may not write"):
        open_regular_file(str(log), namer=THEIRS)
    assert open_regular_file(str(log), namer=0).read() == b"line"
    give(log)
    assert open_regular_file(str(log), namer=THEIRS).read() == b"line"
