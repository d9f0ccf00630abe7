"""A fresh host from one archive: what is refused before anything is done (the rest: tests/hosts/test_recovery.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.archive.error import ArchiveError
from ops.archive.manifest import RequestedPath
from ops.archive.reading import Member
from ops.backups.restore.plan import LackingAccount
from ops.cli.main import main
from ops.deployment.install import RefusedError
from ops.installation import bootstrap as module
from ops.installation.bootstrap import bootstrap
from ops.installation.host import HostTree
from ops.installation.inputs import InstallOptions
from tests.system.made_backup import make_backup

SETTINGS = '[backup]\nallowed_signers = "/etc/gte-ops/signers"\nsigning_key = "/etc/gte-ops/key"\n'


def archive_of(directory: Path, *files: str) -> Path:
    """An archive of a host with these files; a .toml among them is its settings."""
    root = directory / "old"
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SETTINGS if name.endswith(".toml") else "x\n")
    asked = tuple(RequestedPath(what="gte-ops", path=f"/{name}") for name in files)
    return make_backup(root, directory / "backups", asked=asked)


def run(archive: Path) -> None:
    bootstrap(archive, InstallOptions(), identity=None, vouch=None, ask=lambda _: False)


def test_an_archive_without_settings_cannot_set_up_a_host(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"no gte-ops\.toml in it"):
        run(archive_of(tmp_path, "etc/nginx/nginx.conf"))


def test_settings_too_large_to_be_settings_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(tmp_path, "etc/gte-ops/gte-ops.toml")
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(SETTINGS) - 1)
    monkeypatch.setattr(Member, "chunks", lambda _member: pytest.fail("it was read"))
    with pytest.raises(ArchiveError, match=r"gte-ops\.toml in it is larger than 1 MiB"):
        run(archive)


def test_programs_that_are_missing_are_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostTree, "has_program", lambda _host, _name: False)
    archive = archive_of(tmp_path, "etc/gte-ops/gte-ops.toml", "etc/letsencrypt/renewal/gte.example.conf")
    with pytest.raises(RefusedError, match="apt-get install -y nginx logrotate certbot"):
        run(archive)


def test_the_archives_own_signers_and_key_are_not_believed(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, "etc/gte-ops/gte-ops.toml")
    _, path, settings = module._described(archive, [])
    assert path == Path("/etc/gte-ops/gte-ops.toml")
    assert (settings.backup.allowed_signers, settings.backup.signing_key) == ("", "")


def test_each_missing_owner_is_made_once_and_a_group_of_its_own_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(HostTree, "run", lambda _host, *command: commands.append(command))
    lacking = [
        LackingAccount("gte-api", 998, is_group=False, files=3),
        LackingAccount("gte-api", 998, is_group=True, files=3),
        LackingAccount("ssl-cert", 110, is_group=True, files=1),
    ]
    assert module._make_accounts(lacking, HostTree()) == ("gte-api", "ssl-cert")
    assert [command[-1] for command in commands] == ["ssl-cert", "gte-api"]
    assert commands[0][:2] == ("groupadd", "--system")


@pytest.mark.parametrize("words", [(), ("a.tar.zst", "/etc"), ("a.tar.zst", "--root", "/mnt")])
def test_it_takes_one_archive_and_nothing_else(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr("sys.argv", ["gte-ops", "backup", "restore", "--bootstrap", "--yes", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "--bootstrap takes one ARCHIVE" in capsys.readouterr().err
