"""Whether a changed file is as its package ships it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ops.baselines import packaged
from ops.baselines.packaged import Packaged, differing_files, dpkg_files, with_packages
from ops.facts.changes import Change, ChangeKind, PlaceKind

SHIPPED = b"worker_processes auto;\n"


@pytest.fixture
def status(tmp_path: Path) -> Path:
    """dpkg's database, which has two files of one package."""
    digest = hashlib.md5(SHIPPED, usedforsecurity=False).hexdigest()
    path = tmp_path / "status"
    path.write_text(
        "Package: nginx\nStatus: install ok installed\nVersion: 1.22\n\n"
        "Package: nginx-common\nStatus: install ok installed\nConffiles:\n"
        f" {tmp_path}/mime.types {'0' * 32}\n {tmp_path}/nginx.conf {digest}\n"
        "Version: 1.22\n\nPackage: openssl\nStatus: install ok installed\n"
    )
    return path


def test_a_file_with_the_package_s_content_is_as_shipped_and_an_edited_one_is_not(
    status: Path, tmp_path: Path
) -> None:
    file = tmp_path / "nginx.conf"
    file.write_bytes(SHIPPED)
    assert dpkg_files([str(file)], str(status)) == {
        str(file): Packaged("dpkg", "nginx-common", is_as_shipped=True)
    }
    file.write_bytes(SHIPPED + b"# by hand\n")
    assert dpkg_files([str(file)], str(status)) == {
        str(file): Packaged("dpkg", "nginx-common", is_as_shipped=False)
    }


def test_a_file_of_no_package_and_one_that_is_gone_are_not_known(status: Path, tmp_path: Path) -> None:
    own = tmp_path / "gte-api.conf"
    own.write_bytes(SHIPPED)
    assert dpkg_files([str(own), str(tmp_path / "mime.types")], str(status)) == {}
    assert dpkg_files([str(own)], "/nowhere/status") == {}


def test_the_package_is_the_author_of_what_it_ships_and_of_nothing_else(
    status: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nginx.conf"
    file.write_bytes(SHIPPED)
    monkeypatch.setattr(packaged, "rpm_files", lambda _paths: {})
    monkeypatch.setattr(packaged, "dpkg_files", lambda paths: dpkg_files(paths, str(status)))
    change = Change(place=PlaceKind.NGINX, what=str(file), kind=ChangeKind.CONTENT, time=1.0)
    (named,) = with_packages([change])
    assert named.by == "dpkg: nginx-common"
    by_somebody = Change(place=PlaceKind.NGINX, what=str(file), kind=ChangeKind.CONTENT, by="sudo: carla")
    mode = Change(place=PlaceKind.NGINX, what=str(file), kind=ChangeKind.ACCESS)
    assert list(with_packages([by_somebody, mode])) == [by_somebody, mode]
    file.write_bytes(b"edited")
    assert list(with_packages([change])) == [change]


def test_of_rpm_s_verification_the_digest_and_missing_files_count() -> None:
    printed = (
        "S.5....T.  c /etc/nginx/nginx.conf\n.......T.  c /etc/nginx/mime.types\n"
        ".M.......    /usr/sbin/nginx\nmissing   c /etc/logrotate.d/nginx\n..5......  /a file\nnonsense\n"
    )
    assert differing_files(printed) == {"/etc/nginx/nginx.conf", "/etc/logrotate.d/nginx", "/a file"}
