"""What an installation needs beside its files: accounts and directories, made or said."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ops.deployment import install as installing
from ops.deployment.install import RefusedError, install, next_steps, validate
from ops.deployment.render import ACCOUNTS_FILE, DIRECTORIES_FILE, Deployment, RenderedFile, render

HOST = Path("/")
UNITS = render("systemd", Deployment())
has_systemd = pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")


def with_text(path: str, text: str) -> list[RenderedFile]:
    """The rendered units with one file's text replaced."""
    return [replace(file, text=text) if file.path == path else file for file in UNITS]


def steps(kind: str, *, changed: bool = True, root: Path = HOST) -> list[str]:
    files = render(kind, Deployment())  # type: ignore[arg-type]
    return next_steps(kind, files, root, changed=changed, reload_nginx="")  # type: ignore[arg-type]


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """The accounts of the host, none at first; nothing of the real one is looked at."""
    there: set[str] = set()

    def look_up(name: str) -> None:
        if name not in there:
            raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", look_up)
    monkeypatch.setattr(installing, "TEXTFILES", tmp_path / "textfiles")
    files = {
        str(tmp_path / "cert/gte_ops_cert.prom"): "gte-ops",
        str(tmp_path / "b/gte_ops_backup.prom"): "root",
    }
    monkeypatch.setattr(installing, "METRICS_FILES", files)
    return there


@has_systemd
def test_the_shipped_files_are_taken() -> None:
    validate("systemd", UNITS, on_host=False)


@has_systemd
@pytest.mark.parametrize("text", ["bogus x\n", "u gte-api 999999999999\n", "u gte-api - no quotes here\n"])
def test_accounts_that_systemd_would_not_make_are_refused_before_anything_is_written(text: str) -> None:
    with pytest.raises(RefusedError, match=ACCOUNTS_FILE):
        validate("systemd", with_text(ACCOUNTS_FILE, text), on_host=False)


@has_systemd
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try them")
@pytest.mark.parametrize("text", ["zz /x\n", "d /var/lib/x 0755 nobody-has-this-name root -\n"])
def test_directories_that_systemd_would_not_make_are_refused_too(text: str) -> None:
    with pytest.raises(RefusedError, match=DIRECTORIES_FILE):
        validate("systemd", with_text(DIRECTORIES_FILE, text), on_host=False)


def test_a_host_without_systemd_is_told_the_accounts_in_one_line_each(accounts: set[str]) -> None:
    made = [step for step in steps("systemd") if step.startswith("useradd --system ")]
    assert [step.split()[-1] for step in made] == ["gte-api", "gte-ops"]
    assert all("--shell /usr/sbin/nologin" in step for step in made)
    accounts.update(("gte-api", "gte-ops"))
    assert not [step for step in steps("systemd") if step.startswith("useradd")]


def test_a_missing_account_is_told_though_no_file_has_changed(accounts: set[str]) -> None:
    assert [step.split()[-1] for step in steps("cron", changed=False) if "useradd" in step] == ["gte-ops"]
    accounts.add("gte-ops")
    assert not [step for step in steps("cron", changed=False) if "useradd" in step]


def test_node_exporter_finds_the_metrics_files_through_links(accounts: set[str], tmp_path: Path) -> None:
    accounts.update(("gte-api", "gte-ops"))
    textfiles = tmp_path / "textfiles"
    files = {tmp_path / "cert/gte_ops_cert.prom": "gte-ops", tmp_path / "b/gte_ops_backup.prom": "root"}
    assert steps("cron") == [
        f"install -d -m 0755 -o {owner} -g {owner} {file.parent}" for file, owner in files.items()
    ]
    for directory in (textfiles, *(file.parent for file in files)):
        directory.mkdir()
    assert steps("cron") == [f"ln -sfn {file} {textfiles / file.name}" for file in files]
    for file in files:
        (textfiles / file.name).symlink_to(file)
    assert steps("cron") == []


@pytest.mark.usefixtures("accounts")
def test_files_that_name_no_account_need_none() -> None:
    for kind in ("nginx", "logrotate", "prometheus"):
        assert not [step for step in steps(kind) if "useradd" in step or "ln -s" in step]


def test_an_image_gets_its_accounts_below_its_root(tmp_path: Path) -> None:
    assert steps("systemd", root=tmp_path) == [f"systemd-sysusers --root={tmp_path}"]
    assert steps("systemd", root=tmp_path, changed=False) == []


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would be run on the host; the host's files are those below ``tmp_path``."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(installing, "trusted_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(installing, "place", lambda file, _root: tmp_path / file.path.lstrip("/"))
    return ran


def test_on_a_host_accounts_and_directories_are_made_once_their_files_are_there(
    commands: list[list[str]],
) -> None:
    install("systemd", UNITS, HOST, ("nginx", "-t"))
    assert commands[-2:] == [
        ["/usr/bin/systemd-sysusers", ACCOUNTS_FILE],
        ["/usr/bin/systemd-tmpfiles", "--create", DIRECTORIES_FILE],
    ]
    tried = [
        command for command in commands[:-2] if command[0].endswith(("systemd-sysusers", "systemd-tmpfiles"))
    ]
    assert tried
    assert all("--dry-run" in command or any("--root=/" in word for word in command) for command in tried)


@pytest.mark.usefixtures("commands")
def test_an_account_that_cannot_be_made_leaves_the_host_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        refused = command == ["/usr/bin/systemd-sysusers", ACCOUNTS_FILE]
        return subprocess.CompletedProcess(command, int(refused), "", "no more ids\n" if refused else "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RefusedError, match="no more ids"):
        install("systemd", UNITS, HOST, ("nginx", "-t"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
