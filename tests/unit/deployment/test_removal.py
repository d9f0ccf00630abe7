"""`render --remove` removes what it put in place, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.deployment import removal
from ops.deployment.install import RefusedError, install
from ops.deployment.removal import FileRemoval, removals, remove, steps_after
from ops.deployment.render import RenderedFile

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="a directory below /tmp is root's own only for root"
)
FILES = [RenderedFile("/etc/cron.d/one", "# one\n"), RenderedFile("/etc/cron.d/two", "# two\n", 0o600)]


def installed(root: Path) -> Path:
    for file in FILES:
        path = root / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)
    return root / "etc/cron.d"


def states(results: tuple[removal.RemovedFile, ...]) -> list[FileRemoval]:
    return [item.state for item in results]


def test_what_was_installed_is_removed_and_a_neighbour_stays(tmp_path: Path) -> None:
    directory = installed(tmp_path)
    (directory / "neighbour").write_text("mine")
    assert states(removals(FILES, tmp_path)) == [FileRemoval.REMOVED, FileRemoval.REMOVED]
    assert sorted(path.name for path in directory.iterdir()) == ["neighbour", "one", "two"], (
        "a look changes nothing"
    )
    remove("cron", FILES, tmp_path, ())
    assert [path.name for path in directory.iterdir()] == ["neighbour"]
    assert states(remove("cron", FILES, tmp_path, ())) == [FileRemoval.ABSENT, FileRemoval.ABSENT]


def test_an_edited_file_is_shown_and_left(tmp_path: Path) -> None:
    directory = installed(tmp_path)
    (directory / "one").write_text("# mine\n")
    edited, removed = remove("cron", FILES, tmp_path, ())
    assert (edited.state, removed.state) == (FileRemoval.EDITED, FileRemoval.REMOVED)
    assert "+# mine\n" in edited.diff
    assert (directory / "one").read_text() == "# mine\n"


def test_the_former_file_that_was_kept_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    (tmp_path / "etc/cron.d/one").write_text("# of before\n")
    install("cron", [RenderedFile("/etc/cron.d/one", "# one\n")], tmp_path, ())
    (item,) = remove("cron", FILES[:1], tmp_path, ())
    (copy,) = item.copies
    assert Path(copy).read_text() == "# of before\n"


def test_a_failure_puts_every_file_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = installed(tmp_path)
    monkeypatch.setattr(
        removal, "accepted_by_nginx", lambda _: (_ for _ in ()).throw(RefusedError("nginx refuses"))
    )
    monkeypatch.setattr(removal, "place", lambda file, _: tmp_path / file.path.lstrip("/"))
    monkeypatch.setattr(removal, "refuse_shared", lambda *_: None)
    with pytest.raises(RefusedError, match="nginx refuses"):
        remove("nginx", FILES, Path("/"), ("nginx", "-t"))
    assert [(directory / name).read_text() for name in ("one", "two")] == ["# one\n", "# two\n"]
    assert (directory / "two").stat().st_mode & 0o777 == 0o600


def test_units_in_use_are_stopped_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "refuse_shared", lambda *_: None)
    monkeypatch.setattr(removal, "trusted_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        removal, "_asks", lambda _, question, unit: question == "is-enabled" and unit == "a.timer"
    )
    files = [RenderedFile(f"{tmp_path}/a.{ending}", "") for ending in ("service", "timer")]
    with pytest.raises(RefusedError, match=r"systemctl disable --now a\.timer"):
        remove("systemd", files, Path("/"), ())


def test_what_is_left_to_do_is_said() -> None:
    assert steps_after("nginx", "systemctl reload nginx") == ("systemctl reload nginx",)
    assert steps_after("systemd", "") == ("systemctl daemon-reload",)
    assert steps_after("cron", "") == ()
