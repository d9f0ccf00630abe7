"""Looking at files: what was not touched is not read again, private keys are not kept, links are not obeyed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ops.baselines import capture as capture_module
from ops.baselines.capture import capture
from ops.baselines.state import FileState
from ops.facts.changes import PlaceKind


def aged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def captured(*paths: Path, place: PlaceKind = PlaceKind.NGINX) -> dict[str, FileState]:
    return capture({str(path): place for path in paths}, {}, 0.0).files


def test_a_file_whose_status_is_the_same_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = aged(tmp_path / "a.conf", b"listen 443;\n")
    known = captured(path)
    read: list[str] = []
    monkeypatch.setattr(capture_module, "_read", lambda path, *_: read.append(path))
    # As if the baseline were of a time well after the file's.
    again = capture({str(path): PlaceKind.NGINX}, known, time.time() + 60)
    assert again.files == known
    assert read == []


def test_a_file_that_was_written_just_before_the_baseline_is_read_again(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.conf", b"listen 443;\n")
    known = captured(path)
    status = path.stat()
    path.write_bytes(b"listen 444;\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = capture({str(path): PlaceKind.NGINX}, known, time.time())
    assert again.files[str(path)].digest != known[str(path)].digest


def test_a_touched_file_means_the_same(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.conf", b"listen 443;\n")
    before = captured(path)[str(path)]
    os.utime(path, (5.0, 5.0))
    after = captured(path)[str(path)]
    assert after.signature != before.signature
    assert after.meaning == before.meaning


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [
        (b"listen 443;\n", True),
        ("# 中文\n".encode(), True),
        (b"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n", False),
        (b"-----BEGIN RSA PRIVATE KEY-----\n", False),
        (b"\0binary", False),
        (b"\xff\xfe", False),
        (b"x" * (capture_module.MAX_TEXT_BYTES + 1), False),
    ],
)
def test_only_small_texts_without_a_key_are_kept(tmp_path: Path, content: bytes, is_kept: bool) -> None:
    path = aged(tmp_path / "file", content)
    result = capture({str(path): PlaceKind.CERTIFICATE}, {}, 0.0)
    state = result.files[str(path)]
    assert state.is_kept is is_kept
    assert result.texts == ({state.digest: content} if is_kept else {})
    assert len(state.digest) == 64


def test_a_model_file_is_told_by_size_beginning_and_end_and_never_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = bytearray(os.urandom(300_000))
    path.write_bytes(content)
    first = captured(path, place=PlaceKind.MODEL)[str(path)]
    os.utime(path, (5.0, 5.0))
    assert captured(path, place=PlaceKind.MODEL)[str(path)].meaning == first.meaning
    content[-1] ^= 1
    path.write_bytes(content)
    assert captured(path, place=PlaceKind.MODEL)[str(path)].digest != first.digest
    assert not first.is_kept


def test_what_is_gone_is_missing_and_what_is_no_file_is_neither(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "socket-directory").mkdir()
    paths = {str(tmp_path / name): PlaceKind.NGINX for name in ("gone", "pipe", "socket-directory", "a/b")}
    result = capture(paths, {}, 0.0)
    assert result.files == {}
    assert set(result.missing) == {str(tmp_path / "gone"), str(tmp_path / "a/b")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led to what its leader may not read")
def test_another_users_link_to_roots_file_is_not_followed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secret = aged(tmp_path / "secret", b"root's\n")
    secret.chmod(0o600)
    home = tmp_path / "home"
    home.mkdir()
    link = home / "app.py"
    link.symlink_to(secret)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    os.chown(home, 12345, 12345)
    result = capture({str(link): PlaceKind.APPLICATION}, {}, 0.0)
    assert result.files == {}
    assert result.texts == {}


def test_where_a_link_leads_is_part_of_what_it_means(tmp_path: Path) -> None:
    first, second = aged(tmp_path / "1.pem", b"same\n"), aged(tmp_path / "2.pem", b"same\n")
    link = tmp_path / "cert.pem"
    link.symlink_to(first)
    before = captured(link)[str(link)]
    link.unlink()
    link.symlink_to(second)
    after = captured(link)[str(link)]
    assert before.link == str(first)
    assert after.meaning != before.meaning
