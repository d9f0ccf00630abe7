"""Sites' files that no include of nginx takes, of which some may not be looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.collect.logs import unserved_files
from ops.collect.services.nginx_unloaded import unloaded_sites

SITE = "server {\n    server_name shop.example;\n}\n"


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose entries may not be looked at, for root neither."""
    place = tmp_path / "home"
    place.mkdir()
    real = Path.stat

    def refused(path: Path, *, follow_symlinks: bool = True) -> object:
        if follow_symlinks and os.path.realpath(path).startswith(f"{place}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    return place


def test_a_link_into_a_closed_home_is_passed_over_and_the_others_are_named(
    tmp_path: Path, closed: Path
) -> None:
    enabled = tmp_path / "sites-enabled"
    enabled.mkdir()
    (enabled / "home.conf").symlink_to(closed / "site.conf")
    (enabled / "shop.conf").write_text(SITE)
    (found,) = unloaded_sites(str(tmp_path / "nginx.conf"), [], [])
    assert (found.path, found.names) == (f"{enabled}/shop.conf", ("shop.example",))


def test_a_built_page_is_not_sought_in_a_closed_directory(tmp_path: Path, closed: Path) -> None:
    root = tmp_path / "www"
    root.mkdir()
    (root / "current").symlink_to(closed / "release")
    assert unserved_files._built_below(str(root)) == ""
