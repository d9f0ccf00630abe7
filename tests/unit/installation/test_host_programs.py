"""What a host's programs are run with."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from ops.installation.host import HostTree


def test_the_version_of_an_environment_is_not_the_current_directory_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "gte_ops.egg-info"  # as pip leaves it in a checkout
    about.mkdir()
    (about / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: gte-ops\nVersion: 9.9.9\n")
    monkeypatch.chdir(tmp_path)
    assert HostTree().version(Path(sys.prefix)) == metadata.version("gte-ops")


def test_a_module_of_the_current_directory_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    HostTree().run(sys.executable, "-c", "import json")
